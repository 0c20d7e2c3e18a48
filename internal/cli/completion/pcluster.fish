# Completion of pcluster for fish. Use it with: pcluster completion fish | source
function __pcluster_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete $words[2..-1] 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (commandline -ct)
            return
        end
        echo $line
    end
end
complete -c pcluster -f -a '(__pcluster_complete)'
