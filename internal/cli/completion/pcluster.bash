# Completion of pcluster for bash. Use it with: source <(pcluster completion bash)
_pcluster() {
    local line=${COMP_LINE:0:COMP_POINT} cur=${COMP_WORDS[COMP_CWORD]} full word candidate
    local -a words found
    # Bash takes words apart at = and : as well; here, blanks alone count.
    read -r -a words <<<"$line"
    full=${line##*[[:space:]]}
    [[ -z $full ]] && words+=("")
    [[ $cur == [=:] ]] && cur=
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        if [[ $candidate == :files ]]; then
            compopt -o filenames 2>/dev/null
            mapfile -t COMPREPLY < <(compgen -f -- "$cur")
            return
        fi
        found+=("$candidate")
    done < <("${words[0]}" __complete "${words[@]:1}" 2>/dev/null)
    # What stands before the part that bash replaces is there already.
    word=${full%"$cur"}
    for candidate in "${found[@]}"; do
        COMPREPLY+=("${candidate#"$word"}")
    done
    compopt -o nosort 2>/dev/null
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -F _pcluster pcluster
