#compdef remuda

autoload -U is-at-least

_remuda() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_remuda_commands" \
"*::: :->remuda" \
&& ret=0
    case $state in
    (remuda)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:remuda-command-$line[1]:"
        case $line[1] in
            (up)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file (TOML). Without it\: \`REMUDA_CONFIG\`, or remuda/remuda.toml in your configuration directory]:FILE:_files' \
'--listen=[Where to listen, as 127.0.0.1\:11440 or 0.0.0.0\:11440]:ADDR:_default' \
'--data=[The data directory. Nothing is written elsewhere. Without it\: ~/.local/share/remuda]:DIR:_files' \
'*--model=[A model file (GGUF) or directory (safetensors) for the embedded engine. Repeatable]:PATH:_files' \
'--models-dir=[A directory all of whose model files the embedded engine serves]:DIR:_files' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(serve)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file (TOML). Without it\: \`REMUDA_CONFIG\`, or remuda/remuda.toml in your configuration directory]:FILE:_files' \
'--listen=[Where to listen, as 127.0.0.1\:11440 or 0.0.0.0\:11440]:ADDR:_default' \
'--data=[The data directory. Nothing is written elsewhere. Without it\: ~/.local/share/remuda]:DIR:_files' \
'*--model=[A model file (GGUF) or directory (safetensors) for the embedded engine. Repeatable]:PATH:_files' \
'--models-dir=[A directory all of whose model files the embedded engine serves]:DIR:_files' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(setup)
_arguments "${_arguments_options[@]}" : \
'--token=[The set-up token]:TOKEN:_default' \
'--username=[The administrator'\''s name]:NAME:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--password-stdin[Read the password from standard input in place of asking for it]' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(login)
_arguments "${_arguments_options[@]}" : \
'--username=[Your name]:NAME:_default' \
'--setup-token=[The token that the first start printed\: make the administrator with it first]:TOKEN:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--password-stdin[Read the password from standard input in place of asking for it]' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(logout)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(whoami)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(key)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_remuda__subcmd__key_commands" \
"*::: :->key" \
&& ret=0

    case $state in
    (key)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:remuda-key-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
'*--model=[A model that the key may use. Repeatable. Without it\: all models]:MODEL:_default' \
'--expires=[How long the key works, as 90d or 12h. Without it\: until it is revoked]:TIME:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--admin[Let the key manage nodes, keys and users too]' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
':name -- What the key is for:_default' \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(revoke)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
':key -- The key'\''s id, name or visible prefix:_default' \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
":: :_remuda__subcmd__key__subcmd__help_commands" \
"*::: :->help" \
&& ret=0

    case $state in
    (help)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:remuda-key-help-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(revoke)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
        esac
    ;;
esac
;;
        esac
    ;;
esac
;;
(node)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_remuda__subcmd__node_commands" \
"*::: :->node" \
&& ret=0

    case $state in
    (node)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:remuda-node-command-$line[1]:"
        case $line[1] in
            (add)
_arguments "${_arguments_options[@]}" : \
'--kind=[Which API it speaks. Without it\: detected]:KIND:((ollama\:"Ollama"
openai\:"vLLM, llama.cpp, \`SGLang\`, LM Studio and others with the OpenAI routes"))' \
'*--tag=[A label that calls can require. Repeatable]:TAG:_default' \
'--region=[Where it stands, for people]:REGION:_default' \
'--weight=[How much it is preferred, 0.01 to 100; 1 is neutral]:WEIGHT:_default' \
'--max-in-flight=[The most requests sent to it at once]:COUNT:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--api-key-stdin[Read the key that the server wants from standard input (or set \`REMUDA_NODE_API_KEY\`)]' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
':name -- Its name, unique in the fleet:_default' \
':url -- Its base address, as `http\://gpu1\:11434`:_default' \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(ls)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(show)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
':node -- The node'\''s name or id:_default' \
&& ret=0
;;
(drain)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
':node -- The node'\''s name or id:_default' \
&& ret=0
;;
(undrain)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
':node -- The node'\''s name or id:_default' \
&& ret=0
;;
(remove)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
':node -- The node'\''s name or id:_default' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
':node -- The node'\''s name or id:_default' \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
":: :_remuda__subcmd__node__subcmd__help_commands" \
"*::: :->help" \
&& ret=0

    case $state in
    (help)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:remuda-node-help-command-$line[1]:"
        case $line[1] in
            (add)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(show)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(drain)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(undrain)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(remove)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
        esac
    ;;
esac
;;
        esac
    ;;
esac
;;
(models)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(show)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'(--parameters --system)--template[Show the chat template only]' \
'(--system)--parameters[Show the parameters only]' \
'--system[Show the system message only]' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
':model -- The model:_default' \
&& ret=0
;;
(ps)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(pull)
_arguments "${_arguments_options[@]}" : \
'*--node=[A node to fetch it onto. Repeatable]:NAME:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--insecure[Allow registries without a trusted certificate]' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
':model -- The model:_default' \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
'*--node=[A node to remove them from. Repeatable]:NAME:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
'*::models -- The models:_default' \
&& ret=0
;;
(cp)
_arguments "${_arguments_options[@]}" : \
'*--node=[A node to copy it on. Repeatable]:NAME:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
':source -- The model:_default' \
':destination -- Its new name:_default' \
&& ret=0
;;
(run)
_arguments "${_arguments_options[@]}" : \
'--system=[Instructions that stand before the conversation]:TEXT:_default' \
'--temperature=[How freely words are chosen\: 0 always takes the likeliest]:NUMBER:_default' \
'--seed=[Makes equal questions get equal answers]:NUMBER:_default' \
'--max-tokens=[The most tokens of an answer]:TOKENS:_default' \
'--num-ctx=[The context length to ask for]:TOKENS:_default' \
'*-o+[Any other option in Ollama'\''s names, as in \`-o top_k=40\`. Repeatable]:NAME=VALUE:_default' \
'*--option=[Any other option in Ollama'\''s names, as in \`-o top_k=40\`. Repeatable]:NAME=VALUE:_default' \
'--think=[Let a thinking model think\: true, false, low, medium or high]::HOW:_default' \
'--format=[\`json\`, or a JSON schema that the answer must follow]:FORMAT:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--stats[Show token counts and speeds afterwards]' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
':model -- The model:_default' \
'*::prompt -- The question. Without it, standard input is read:_default' \
&& ret=0
;;
(chat)
_arguments "${_arguments_options[@]}" : \
'--system=[Instructions that stand before the conversation]:TEXT:_default' \
'--temperature=[How freely words are chosen\: 0 always takes the likeliest]:NUMBER:_default' \
'--seed=[Makes equal questions get equal answers]:NUMBER:_default' \
'--max-tokens=[The most tokens of an answer]:TOKENS:_default' \
'--num-ctx=[The context length to ask for]:TOKENS:_default' \
'*-o+[Any other option in Ollama'\''s names, as in \`-o top_k=40\`. Repeatable]:NAME=VALUE:_default' \
'*--option=[Any other option in Ollama'\''s names, as in \`-o top_k=40\`. Repeatable]:NAME=VALUE:_default' \
'--think=[Let a thinking model think\: true, false, low, medium or high]::HOW:_default' \
'--format=[\`json\`, or a JSON schema that the answer must follow]:FORMAT:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
'::model -- The model. Without it, one that is in memory, or else the first of the fleet:_default' \
&& ret=0
;;
(requests)
_arguments "${_arguments_options[@]}" : \
'--model=[Only requests for this model]:MODEL:_default' \
'--node=[Only requests that this node served]:NAME:_default' \
'--outcome=[Only requests that ended so]:OUTCOME:((ok\:"Answered in full"
client_error\:"The client'\''s mistake"
rejected\:"Turned away by a limit"
failed\:"No node could answer"
cancelled\:"The client went away"
truncated\:"The answer broke off after it had begun"))' \
'--since=[Only requests since this long ago (30m, 12h, 7d) or this time (RFC 3339)]:TIME:_default' \
'--limit=[How many to show]:COUNT:_default' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(why)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
':id -- The request'\''s id, or `last` for the latest one:_default' \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(health)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help]' \
'--help[Print help]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(doctor)
_arguments "${_arguments_options[@]}" : \
'--config=[The configuration file (TOML). Without it\: \`REMUDA_CONFIG\`, or remuda/remuda.toml in your configuration directory]:FILE:_files' \
'--listen=[Where to listen, as 127.0.0.1\:11440 or 0.0.0.0\:11440]:ADDR:_default' \
'--data=[The data directory. Nothing is written elsewhere. Without it\: ~/.local/share/remuda]:DIR:_files' \
'*--model=[A model file (GGUF) or directory (safetensors) for the embedded engine. Repeatable]:PATH:_files' \
'--models-dir=[A directory all of whose model files the embedded engine serves]:DIR:_files' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(completions)
_arguments "${_arguments_options[@]}" : \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
':shell -- The shell:(bash elvish fish powershell zsh)' \
&& ret=0
;;
(man)
_arguments "${_arguments_options[@]}" : \
'--out=[Write one page for each command into this directory in place of printing the main page]:DIR:_files' \
'--server=[The server to talk to\: a URL, HOST\:PORT or HOST]:URL:_default' \
'--json[Write JSON for programs in place of tables and sentences]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
":: :_remuda__subcmd__help_commands" \
"*::: :->help" \
&& ret=0

    case $state in
    (help)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:remuda-help-command-$line[1]:"
        case $line[1] in
            (up)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(setup)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(login)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(logout)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(whoami)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(key)
_arguments "${_arguments_options[@]}" : \
":: :_remuda__subcmd__help__subcmd__key_commands" \
"*::: :->key" \
&& ret=0

    case $state in
    (key)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:remuda-help-key-command-$line[1]:"
        case $line[1] in
            (create)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(revoke)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
        esac
    ;;
esac
;;
(node)
_arguments "${_arguments_options[@]}" : \
":: :_remuda__subcmd__help__subcmd__node_commands" \
"*::: :->node" \
&& ret=0

    case $state in
    (node)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:remuda-help-node-command-$line[1]:"
        case $line[1] in
            (add)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(list)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(show)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(drain)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(undrain)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(remove)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
        esac
    ;;
esac
;;
(models)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(show)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(ps)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(pull)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(rm)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(cp)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(run)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(chat)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(requests)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(why)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(status)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(doctor)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(completions)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(man)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
(help)
_arguments "${_arguments_options[@]}" : \
&& ret=0
;;
        esac
    ;;
esac
;;
        esac
    ;;
esac
}

(( $+functions[_remuda_commands] )) ||
_remuda_commands() {
    local commands; commands=(
'up:Start Remuda on this machine\: gateway, control plane, embedded engine' \
'serve:Start Remuda on this machine\: gateway, control plane, embedded engine' \
'setup:Make the first administrator with the set-up token that the first start printed' \
'login:Sign in and keep the session for later commands' \
'logout:End the session and forget it' \
'whoami:Show who you are to the server' \
'key:Make, list and revoke API keys' \
'node:Add, list, drain and remove the servers behind the endpoint' \
'models:List the models of the whole fleet' \
'list:List the models of the whole fleet' \
'show:Show one model' \
'ps:List the models that are in memory now' \
'pull:Fetch a model onto nodes' \
'rm:Remove a model from nodes' \
'cp:Copy a model under another name' \
'run:Ask a model one question' \
'chat:Talk to a model' \
'requests:List recent requests' \
'why:Explain one request\: where it went, why, and how long each part took' \
'status:Show whether the server and its parts are well' \
'health:Show whether the server and its parts are well' \
'doctor:Check configuration, ports, data directory, database and nodes, and say what to do' \
'completions:Print a completion script for a shell' \
'man:Print the manual page, or write one page for each command' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'remuda commands' commands "$@"
}
(( $+functions[_remuda__subcmd__chat_commands] )) ||
_remuda__subcmd__chat_commands() {
    local commands; commands=()
    _describe -t commands 'remuda chat commands' commands "$@"
}
(( $+functions[_remuda__subcmd__completions_commands] )) ||
_remuda__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'remuda completions commands' commands "$@"
}
(( $+functions[_remuda__subcmd__cp_commands] )) ||
_remuda__subcmd__cp_commands() {
    local commands; commands=()
    _describe -t commands 'remuda cp commands' commands "$@"
}
(( $+functions[_remuda__subcmd__doctor_commands] )) ||
_remuda__subcmd__doctor_commands() {
    local commands; commands=()
    _describe -t commands 'remuda doctor commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help_commands] )) ||
_remuda__subcmd__help_commands() {
    local commands; commands=(
'up:Start Remuda on this machine\: gateway, control plane, embedded engine' \
'setup:Make the first administrator with the set-up token that the first start printed' \
'login:Sign in and keep the session for later commands' \
'logout:End the session and forget it' \
'whoami:Show who you are to the server' \
'key:Make, list and revoke API keys' \
'node:Add, list, drain and remove the servers behind the endpoint' \
'models:List the models of the whole fleet' \
'show:Show one model' \
'ps:List the models that are in memory now' \
'pull:Fetch a model onto nodes' \
'rm:Remove a model from nodes' \
'cp:Copy a model under another name' \
'run:Ask a model one question' \
'chat:Talk to a model' \
'requests:List recent requests' \
'why:Explain one request\: where it went, why, and how long each part took' \
'status:Show whether the server and its parts are well' \
'doctor:Check configuration, ports, data directory, database and nodes, and say what to do' \
'completions:Print a completion script for a shell' \
'man:Print the manual page, or write one page for each command' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'remuda help commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__chat_commands] )) ||
_remuda__subcmd__help__subcmd__chat_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help chat commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__completions_commands] )) ||
_remuda__subcmd__help__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help completions commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__cp_commands] )) ||
_remuda__subcmd__help__subcmd__cp_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help cp commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__doctor_commands] )) ||
_remuda__subcmd__help__subcmd__doctor_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help doctor commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__help_commands] )) ||
_remuda__subcmd__help__subcmd__help_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help help commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__key_commands] )) ||
_remuda__subcmd__help__subcmd__key_commands() {
    local commands; commands=(
'create:Make a key. It is shown once' \
'list:List keys; their secrets are never shown again' \
'revoke:Revoke a key\: it stops working at once' \
    )
    _describe -t commands 'remuda help key commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__key__subcmd__create_commands] )) ||
_remuda__subcmd__help__subcmd__key__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help key create commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__key__subcmd__list_commands] )) ||
_remuda__subcmd__help__subcmd__key__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help key list commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__key__subcmd__revoke_commands] )) ||
_remuda__subcmd__help__subcmd__key__subcmd__revoke_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help key revoke commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__login_commands] )) ||
_remuda__subcmd__help__subcmd__login_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help login commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__logout_commands] )) ||
_remuda__subcmd__help__subcmd__logout_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help logout commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__man_commands] )) ||
_remuda__subcmd__help__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help man commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__models_commands] )) ||
_remuda__subcmd__help__subcmd__models_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help models commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__node_commands] )) ||
_remuda__subcmd__help__subcmd__node_commands() {
    local commands; commands=(
'add:Put a server behind the endpoint. What it is gets detected' \
'list:List nodes with their state' \
'show:Show one node and its models' \
'drain:Send nothing new to a node; what runs there goes on to its end' \
'undrain:Send requests to a drained node again' \
'remove:Take a node out of the fleet' \
    )
    _describe -t commands 'remuda help node commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__node__subcmd__add_commands] )) ||
_remuda__subcmd__help__subcmd__node__subcmd__add_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help node add commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__node__subcmd__drain_commands] )) ||
_remuda__subcmd__help__subcmd__node__subcmd__drain_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help node drain commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__node__subcmd__list_commands] )) ||
_remuda__subcmd__help__subcmd__node__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help node list commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__node__subcmd__remove_commands] )) ||
_remuda__subcmd__help__subcmd__node__subcmd__remove_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help node remove commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__node__subcmd__show_commands] )) ||
_remuda__subcmd__help__subcmd__node__subcmd__show_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help node show commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__node__subcmd__undrain_commands] )) ||
_remuda__subcmd__help__subcmd__node__subcmd__undrain_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help node undrain commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__ps_commands] )) ||
_remuda__subcmd__help__subcmd__ps_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help ps commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__pull_commands] )) ||
_remuda__subcmd__help__subcmd__pull_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help pull commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__requests_commands] )) ||
_remuda__subcmd__help__subcmd__requests_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help requests commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__rm_commands] )) ||
_remuda__subcmd__help__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help rm commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__run_commands] )) ||
_remuda__subcmd__help__subcmd__run_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help run commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__setup_commands] )) ||
_remuda__subcmd__help__subcmd__setup_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help setup commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__show_commands] )) ||
_remuda__subcmd__help__subcmd__show_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help show commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__status_commands] )) ||
_remuda__subcmd__help__subcmd__status_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help status commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__up_commands] )) ||
_remuda__subcmd__help__subcmd__up_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help up commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__whoami_commands] )) ||
_remuda__subcmd__help__subcmd__whoami_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help whoami commands' commands "$@"
}
(( $+functions[_remuda__subcmd__help__subcmd__why_commands] )) ||
_remuda__subcmd__help__subcmd__why_commands() {
    local commands; commands=()
    _describe -t commands 'remuda help why commands' commands "$@"
}
(( $+functions[_remuda__subcmd__key_commands] )) ||
_remuda__subcmd__key_commands() {
    local commands; commands=(
'create:Make a key. It is shown once' \
'list:List keys; their secrets are never shown again' \
'ls:List keys; their secrets are never shown again' \
'revoke:Revoke a key\: it stops working at once' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'remuda key commands' commands "$@"
}
(( $+functions[_remuda__subcmd__key__subcmd__create_commands] )) ||
_remuda__subcmd__key__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'remuda key create commands' commands "$@"
}
(( $+functions[_remuda__subcmd__key__subcmd__help_commands] )) ||
_remuda__subcmd__key__subcmd__help_commands() {
    local commands; commands=(
'create:Make a key. It is shown once' \
'list:List keys; their secrets are never shown again' \
'revoke:Revoke a key\: it stops working at once' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'remuda key help commands' commands "$@"
}
(( $+functions[_remuda__subcmd__key__subcmd__help__subcmd__create_commands] )) ||
_remuda__subcmd__key__subcmd__help__subcmd__create_commands() {
    local commands; commands=()
    _describe -t commands 'remuda key help create commands' commands "$@"
}
(( $+functions[_remuda__subcmd__key__subcmd__help__subcmd__help_commands] )) ||
_remuda__subcmd__key__subcmd__help__subcmd__help_commands() {
    local commands; commands=()
    _describe -t commands 'remuda key help help commands' commands "$@"
}
(( $+functions[_remuda__subcmd__key__subcmd__help__subcmd__list_commands] )) ||
_remuda__subcmd__key__subcmd__help__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'remuda key help list commands' commands "$@"
}
(( $+functions[_remuda__subcmd__key__subcmd__help__subcmd__revoke_commands] )) ||
_remuda__subcmd__key__subcmd__help__subcmd__revoke_commands() {
    local commands; commands=()
    _describe -t commands 'remuda key help revoke commands' commands "$@"
}
(( $+functions[_remuda__subcmd__key__subcmd__list_commands] )) ||
_remuda__subcmd__key__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'remuda key list commands' commands "$@"
}
(( $+functions[_remuda__subcmd__key__subcmd__revoke_commands] )) ||
_remuda__subcmd__key__subcmd__revoke_commands() {
    local commands; commands=()
    _describe -t commands 'remuda key revoke commands' commands "$@"
}
(( $+functions[_remuda__subcmd__login_commands] )) ||
_remuda__subcmd__login_commands() {
    local commands; commands=()
    _describe -t commands 'remuda login commands' commands "$@"
}
(( $+functions[_remuda__subcmd__logout_commands] )) ||
_remuda__subcmd__logout_commands() {
    local commands; commands=()
    _describe -t commands 'remuda logout commands' commands "$@"
}
(( $+functions[_remuda__subcmd__man_commands] )) ||
_remuda__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'remuda man commands' commands "$@"
}
(( $+functions[_remuda__subcmd__models_commands] )) ||
_remuda__subcmd__models_commands() {
    local commands; commands=()
    _describe -t commands 'remuda models commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node_commands] )) ||
_remuda__subcmd__node_commands() {
    local commands; commands=(
'add:Put a server behind the endpoint. What it is gets detected' \
'list:List nodes with their state' \
'ls:List nodes with their state' \
'show:Show one node and its models' \
'drain:Send nothing new to a node; what runs there goes on to its end' \
'undrain:Send requests to a drained node again' \
'remove:Take a node out of the fleet' \
'rm:Take a node out of the fleet' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'remuda node commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__add_commands] )) ||
_remuda__subcmd__node__subcmd__add_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node add commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__drain_commands] )) ||
_remuda__subcmd__node__subcmd__drain_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node drain commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__help_commands] )) ||
_remuda__subcmd__node__subcmd__help_commands() {
    local commands; commands=(
'add:Put a server behind the endpoint. What it is gets detected' \
'list:List nodes with their state' \
'show:Show one node and its models' \
'drain:Send nothing new to a node; what runs there goes on to its end' \
'undrain:Send requests to a drained node again' \
'remove:Take a node out of the fleet' \
'help:Print this message or the help of the given subcommand(s)' \
    )
    _describe -t commands 'remuda node help commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__help__subcmd__add_commands] )) ||
_remuda__subcmd__node__subcmd__help__subcmd__add_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node help add commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__help__subcmd__drain_commands] )) ||
_remuda__subcmd__node__subcmd__help__subcmd__drain_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node help drain commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__help__subcmd__help_commands] )) ||
_remuda__subcmd__node__subcmd__help__subcmd__help_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node help help commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__help__subcmd__list_commands] )) ||
_remuda__subcmd__node__subcmd__help__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node help list commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__help__subcmd__remove_commands] )) ||
_remuda__subcmd__node__subcmd__help__subcmd__remove_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node help remove commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__help__subcmd__show_commands] )) ||
_remuda__subcmd__node__subcmd__help__subcmd__show_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node help show commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__help__subcmd__undrain_commands] )) ||
_remuda__subcmd__node__subcmd__help__subcmd__undrain_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node help undrain commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__list_commands] )) ||
_remuda__subcmd__node__subcmd__list_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node list commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__remove_commands] )) ||
_remuda__subcmd__node__subcmd__remove_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node remove commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__show_commands] )) ||
_remuda__subcmd__node__subcmd__show_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node show commands' commands "$@"
}
(( $+functions[_remuda__subcmd__node__subcmd__undrain_commands] )) ||
_remuda__subcmd__node__subcmd__undrain_commands() {
    local commands; commands=()
    _describe -t commands 'remuda node undrain commands' commands "$@"
}
(( $+functions[_remuda__subcmd__ps_commands] )) ||
_remuda__subcmd__ps_commands() {
    local commands; commands=()
    _describe -t commands 'remuda ps commands' commands "$@"
}
(( $+functions[_remuda__subcmd__pull_commands] )) ||
_remuda__subcmd__pull_commands() {
    local commands; commands=()
    _describe -t commands 'remuda pull commands' commands "$@"
}
(( $+functions[_remuda__subcmd__requests_commands] )) ||
_remuda__subcmd__requests_commands() {
    local commands; commands=()
    _describe -t commands 'remuda requests commands' commands "$@"
}
(( $+functions[_remuda__subcmd__rm_commands] )) ||
_remuda__subcmd__rm_commands() {
    local commands; commands=()
    _describe -t commands 'remuda rm commands' commands "$@"
}
(( $+functions[_remuda__subcmd__run_commands] )) ||
_remuda__subcmd__run_commands() {
    local commands; commands=()
    _describe -t commands 'remuda run commands' commands "$@"
}
(( $+functions[_remuda__subcmd__setup_commands] )) ||
_remuda__subcmd__setup_commands() {
    local commands; commands=()
    _describe -t commands 'remuda setup commands' commands "$@"
}
(( $+functions[_remuda__subcmd__show_commands] )) ||
_remuda__subcmd__show_commands() {
    local commands; commands=()
    _describe -t commands 'remuda show commands' commands "$@"
}
(( $+functions[_remuda__subcmd__status_commands] )) ||
_remuda__subcmd__status_commands() {
    local commands; commands=()
    _describe -t commands 'remuda status commands' commands "$@"
}
(( $+functions[_remuda__subcmd__up_commands] )) ||
_remuda__subcmd__up_commands() {
    local commands; commands=()
    _describe -t commands 'remuda up commands' commands "$@"
}
(( $+functions[_remuda__subcmd__whoami_commands] )) ||
_remuda__subcmd__whoami_commands() {
    local commands; commands=()
    _describe -t commands 'remuda whoami commands' commands "$@"
}
(( $+functions[_remuda__subcmd__why_commands] )) ||
_remuda__subcmd__why_commands() {
    local commands; commands=()
    _describe -t commands 'remuda why commands' commands "$@"
}

if [ "$funcstack[1]" = "_remuda" ]; then
    _remuda "$@"
else
    compdef _remuda remuda
fi
