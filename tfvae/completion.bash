# What `tfvae completion` fills in: COMMANDS, FLAGS and VALUES. In bash `=` ends a word of COMP_WORDS, in zsh it
# does not: hence two ways to find a flag's value.
_tfvae() {
    local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" command="${COMP_WORDS[1]}"
    local flag="" start=""
    if [ "$COMP_CWORD" = 1 ]; then
        COMPREPLY=($(compgen -W "COMMANDS" -- "$word"))
        return
    fi
    case "$word" in
        =) flag="$before"; word="" ;;
        --*=*) flag="${word%%=*}"; start="$flag="; word="${word#*=}" ;;
        *) [ "$before" = "=" ] && flag="${COMP_WORDS[COMP_CWORD-2]}" ;;
    esac
    if [ -n "$flag" ]; then
        local values=""
        case "$command $flag" in
VALUES
        esac
        if [ -n "$values" ]; then
            COMPREPLY=($(compgen -P "$start" -W "$values" -- "$word"))
        else
            COMPREPLY=($(compgen -P "$start" -f -- "$word"))
        fi
        return
    fi
    case "$command" in
FLAGS
    esac
}
complete -o bashdefault -o nospace -F _tfvae tfvae
