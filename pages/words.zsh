_netunedctl_cards() { compadd -- ${(f)"$(_netunedctl_names_of_cards)"} }
_netunedctl_files_and_cards() { _files; _netunedctl_cards }
_netunedctl_queues() { compadd -- ${(f)"$(_netunedctl_numbers_of_queues "${words[@]}")"} }
_netunedctl_profiles() { compadd -- ${(f)"$(_netunedctl_names_of_profiles)"} }
_netunedctl_trials() { compadd -- ${(f)"$(_netunedctl_ids_of_trials)"} }
