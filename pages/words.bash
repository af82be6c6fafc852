_netunedctl_cards() { compgen -W "$(_netunedctl_names_of_cards)" -- "$1"; }
_netunedctl_files_and_cards() { compgen -f -- "$1"; _netunedctl_cards "$1"; }
_netunedctl_queues() { compgen -W "$(_netunedctl_numbers_of_queues "${COMP_WORDS[@]}")" -- "$1"; }
_netunedctl_profiles() { compgen -W "$(_netunedctl_names_of_profiles)" -- "$1"; }
_netunedctl_trials() { compgen -W "$(_netunedctl_ids_of_trials)" -- "$1"; }
