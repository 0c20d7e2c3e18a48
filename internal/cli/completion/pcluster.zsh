#compdef pcluster
# Completion of pcluster for zsh. Use it with: source <(pcluster completion zsh)
_pcluster() {
    local line value about
    local -a lines found
    lines=("${(@f)$(${(Q)words[1]} __complete "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${lines[@]}"; do
        [[ -z $line ]] && continue
        if [[ $line == :files ]]; then
            _files
            return
        fi
        value=${line%%$'\t'*}
        about=
        [[ $line == *$'\t'* ]] && about=:${line#*$'\t'}
        found+=("${value//:/\\:}$about")
    done
    if [[ ${#found} -eq 1 && $value == *[=:] ]]; then
        _describe -V pcluster found -S ''
    else
        _describe -V pcluster found
    fi
}
compdef _pcluster pcluster
