function _netunedctl_cards
  command ls /sys/class/net 2>/dev/null | string match -v bonding_masters
end
function _netunedctl_files_and_cards
  __fish_complete_path (commandline -ct)
  _netunedctl_cards
end
function _netunedctl_queues
  for word in (commandline -opc)
    string match -qr '^[A-Za-z0-9_:@+-][A-Za-z0-9_.:@+-]*$' -- $word; or continue
    command ls /sys/class/net/$word/queues 2>/dev/null | string replace -fr '^rx-' ''
  end
end
function _netunedctl_profiles
  command ls /etc/netuned/profiles.d /run/netuned/profiles.d /usr/lib/netuned/profiles.d \
    2>/dev/null | string replace -fr '\.ya?ml$' '' | command sort -u
end
function _netunedctl_trials
  command busctl --system --timeout=2 get-property org.netuned1 /org/netuned1 \
    org.netuned1.Manager PendingConfirm 2>/dev/null \
    | string replace -r '^s "' '' | string split '; ' | string replace -fr '^([0-9a-f]{6,16}): .*' '$1'
end
