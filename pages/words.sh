# A word that a shell would expand is no name that anybody completes: bash expands what it is given.
_netunedctl_plain() {
  LC_ALL=C command grep -x '[A-Za-z0-9_.:@+-]*' 2>/dev/null
}
_netunedctl_names_of_cards() {
  command ls /sys/class/net 2>/dev/null | _netunedctl_plain | command grep -vx bonding_masters
}
# Of the card in whichever of these words there is one
_netunedctl_numbers_of_queues() {
  local word
  for word in "$@"; do
    case $word in '' | *[!A-Za-z0-9_.:@+-]* | .*) continue ;; esac
    [ -d "/sys/class/net/$word/queues" ] || continue
    command ls "/sys/class/net/$word/queues" | command sed -n 's/^rx-\([0-9][0-9]*\)$/\1/p'
  done
}
_netunedctl_names_of_profiles() {
  command ls /etc/netuned/profiles.d /run/netuned/profiles.d /usr/lib/netuned/profiles.d \
    2>/dev/null | command sed -n 's/\.ya\{0,1\}ml$//p' | _netunedctl_plain | command sort -u
}
# What waits to be confirmed reads s "3f91c0: eth0, until …; a1b2c3: …"
_netunedctl_ids_of_trials() {
  command busctl --system --timeout=2 get-property org.netuned1 /org/netuned1 \
    org.netuned1.Manager PendingConfirm 2>/dev/null \
    | command sed 's/^s "//; s/; /\n/g' | command sed -n 's/^\([0-9a-f]\{6,16\}\): .*/\1/p'
}
