# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_remuda_global_optspecs
    string join \n server= json h/help V/version
end

function __fish_remuda_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_remuda_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_remuda_using_subcommand
    set -l cmd (__fish_remuda_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c remuda -n "__fish_remuda_needs_command" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_needs_command" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_needs_command" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "up" -d 'Start Remuda on this machine: gateway, control plane, embedded engine'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "serve" -d 'Start Remuda on this machine: gateway, control plane, embedded engine'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "setup" -d 'Make the first administrator with the set-up token that the first start printed'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "login" -d 'Sign in and keep the session for later commands'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "logout" -d 'End the session and forget it'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "whoami" -d 'Show who you are to the server'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "key" -d 'Make, list and revoke API keys'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "node" -d 'Add, list, drain and remove the servers behind the endpoint'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "models" -d 'List the models of the whole fleet'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "list" -d 'List the models of the whole fleet'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "show" -d 'Show one model'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "ps" -d 'List the models that are in memory now'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "pull" -d 'Fetch a model onto nodes'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "rm" -d 'Remove a model from nodes'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "cp" -d 'Copy a model under another name'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "run" -d 'Ask a model one question'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "chat" -d 'Talk to a model'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "requests" -d 'List recent requests'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "why" -d 'Explain one request: where it went, why, and how long each part took'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "status" -d 'Show whether the server and its parts are well'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "health" -d 'Show whether the server and its parts are well'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "doctor" -d 'Check configuration, ports, data directory, database and nodes, and say what to do'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "completions" -d 'Print a completion script for a shell'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "man" -d 'Print the manual page, or write one page for each command'
complete -c remuda -n "__fish_remuda_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c remuda -n "__fish_remuda_using_subcommand up" -l config -d 'The configuration file (TOML). Without it: `REMUDA_CONFIG`, or remuda/remuda.toml in your configuration directory' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand up" -l listen -d 'Where to listen, as 127.0.0.1:11440 or 0.0.0.0:11440' -r
complete -c remuda -n "__fish_remuda_using_subcommand up" -l data -d 'The data directory. Nothing is written elsewhere. Without it: ~/.local/share/remuda' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand up" -l model -d 'A model file (GGUF) or directory (safetensors) for the embedded engine. Repeatable' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand up" -l models-dir -d 'A directory all of whose model files the embedded engine serves' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand up" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand up" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand up" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand up" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand serve" -l config -d 'The configuration file (TOML). Without it: `REMUDA_CONFIG`, or remuda/remuda.toml in your configuration directory' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand serve" -l listen -d 'Where to listen, as 127.0.0.1:11440 or 0.0.0.0:11440' -r
complete -c remuda -n "__fish_remuda_using_subcommand serve" -l data -d 'The data directory. Nothing is written elsewhere. Without it: ~/.local/share/remuda' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand serve" -l model -d 'A model file (GGUF) or directory (safetensors) for the embedded engine. Repeatable' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand serve" -l models-dir -d 'A directory all of whose model files the embedded engine serves' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand serve" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand serve" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand serve" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand setup" -l token -d 'The set-up token' -r
complete -c remuda -n "__fish_remuda_using_subcommand setup" -l username -d 'The administrator\'s name' -r
complete -c remuda -n "__fish_remuda_using_subcommand setup" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand setup" -l password-stdin -d 'Read the password from standard input in place of asking for it'
complete -c remuda -n "__fish_remuda_using_subcommand setup" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand setup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand setup" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand login" -l username -d 'Your name' -r
complete -c remuda -n "__fish_remuda_using_subcommand login" -l setup-token -d 'The token that the first start printed: make the administrator with it first' -r
complete -c remuda -n "__fish_remuda_using_subcommand login" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand login" -l password-stdin -d 'Read the password from standard input in place of asking for it'
complete -c remuda -n "__fish_remuda_using_subcommand login" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand login" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand login" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand logout" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand logout" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand logout" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand logout" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand whoami" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand whoami" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand whoami" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand whoami" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand key; and not __fish_seen_subcommand_from create list ls revoke help" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand key; and not __fish_seen_subcommand_from create list ls revoke help" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand key; and not __fish_seen_subcommand_from create list ls revoke help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand key; and not __fish_seen_subcommand_from create list ls revoke help" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand key; and not __fish_seen_subcommand_from create list ls revoke help" -f -a "create" -d 'Make a key. It is shown once'
complete -c remuda -n "__fish_remuda_using_subcommand key; and not __fish_seen_subcommand_from create list ls revoke help" -f -a "list" -d 'List keys; their secrets are never shown again'
complete -c remuda -n "__fish_remuda_using_subcommand key; and not __fish_seen_subcommand_from create list ls revoke help" -f -a "ls" -d 'List keys; their secrets are never shown again'
complete -c remuda -n "__fish_remuda_using_subcommand key; and not __fish_seen_subcommand_from create list ls revoke help" -f -a "revoke" -d 'Revoke a key: it stops working at once'
complete -c remuda -n "__fish_remuda_using_subcommand key; and not __fish_seen_subcommand_from create list ls revoke help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from create" -l model -d 'A model that the key may use. Repeatable. Without it: all models' -r
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from create" -l expires -d 'How long the key works, as 90d or 12h. Without it: until it is revoked' -r
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from create" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from create" -l admin -d 'Let the key manage nodes, keys and users too'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from create" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from create" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from create" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from list" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from list" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from ls" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from ls" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from revoke" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from revoke" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from revoke" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "create" -d 'Make a key. It is shown once'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "list" -d 'List keys; their secrets are never shown again'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Revoke a key: it stops working at once'
complete -c remuda -n "__fish_remuda_using_subcommand key; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -f -a "add" -d 'Put a server behind the endpoint. What it is gets detected'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -f -a "list" -d 'List nodes with their state'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -f -a "ls" -d 'List nodes with their state'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -f -a "show" -d 'Show one node and its models'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -f -a "drain" -d 'Send nothing new to a node; what runs there goes on to its end'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -f -a "undrain" -d 'Send requests to a drained node again'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -f -a "remove" -d 'Take a node out of the fleet'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -f -a "rm" -d 'Take a node out of the fleet'
complete -c remuda -n "__fish_remuda_using_subcommand node; and not __fish_seen_subcommand_from add list ls show drain undrain remove rm help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -l kind -d 'Which API it speaks. Without it: detected' -r -f -a "ollama\t'Ollama'
openai\t'vLLM, llama.cpp, `SGLang`, LM Studio and others with the OpenAI routes'"
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -l tag -d 'A label that calls can require. Repeatable' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -l region -d 'Where it stands, for people' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -l weight -d 'How much it is preferred, 0.01 to 100; 1 is neutral' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -l max-in-flight -d 'The most requests sent to it at once' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -l api-key-stdin -d 'Read the key that the server wants from standard input (or set `REMUDA_NODE_API_KEY`)'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from add" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from list" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from list" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from list" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from ls" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from ls" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from ls" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from show" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from show" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from show" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from drain" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from drain" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from drain" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from drain" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from undrain" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from undrain" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from undrain" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from undrain" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from remove" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from remove" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from remove" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from remove" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from rm" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from rm" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from rm" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "add" -d 'Put a server behind the endpoint. What it is gets detected'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "list" -d 'List nodes with their state'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show one node and its models'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "drain" -d 'Send nothing new to a node; what runs there goes on to its end'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "undrain" -d 'Send requests to a drained node again'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "remove" -d 'Take a node out of the fleet'
complete -c remuda -n "__fish_remuda_using_subcommand node; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c remuda -n "__fish_remuda_using_subcommand models" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand models" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand models" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand models" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand list" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand list" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand list" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand show" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand show" -l template -d 'Show the chat template only'
complete -c remuda -n "__fish_remuda_using_subcommand show" -l parameters -d 'Show the parameters only'
complete -c remuda -n "__fish_remuda_using_subcommand show" -l system -d 'Show the system message only'
complete -c remuda -n "__fish_remuda_using_subcommand show" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand show" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand show" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand ps" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand ps" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand ps" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand ps" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand pull" -l node -d 'A node to fetch it onto. Repeatable' -r
complete -c remuda -n "__fish_remuda_using_subcommand pull" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand pull" -l insecure -d 'Allow registries without a trusted certificate'
complete -c remuda -n "__fish_remuda_using_subcommand pull" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand pull" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand pull" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand rm" -l node -d 'A node to remove them from. Repeatable' -r
complete -c remuda -n "__fish_remuda_using_subcommand rm" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand rm" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand rm" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand cp" -l node -d 'A node to copy it on. Repeatable' -r
complete -c remuda -n "__fish_remuda_using_subcommand cp" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand cp" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand cp" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand cp" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand run" -l system -d 'Instructions that stand before the conversation' -r
complete -c remuda -n "__fish_remuda_using_subcommand run" -l temperature -d 'How freely words are chosen: 0 always takes the likeliest' -r
complete -c remuda -n "__fish_remuda_using_subcommand run" -l seed -d 'Makes equal questions get equal answers' -r
complete -c remuda -n "__fish_remuda_using_subcommand run" -l max-tokens -d 'The most tokens of an answer' -r
complete -c remuda -n "__fish_remuda_using_subcommand run" -l num-ctx -d 'The context length to ask for' -r
complete -c remuda -n "__fish_remuda_using_subcommand run" -s o -l option -d 'Any other option in Ollama\'s names, as in `-o top_k=40`. Repeatable' -r
complete -c remuda -n "__fish_remuda_using_subcommand run" -l think -d 'Let a thinking model think: true, false, low, medium or high' -r
complete -c remuda -n "__fish_remuda_using_subcommand run" -l format -d '`json`, or a JSON schema that the answer must follow' -r
complete -c remuda -n "__fish_remuda_using_subcommand run" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand run" -l stats -d 'Show token counts and speeds afterwards'
complete -c remuda -n "__fish_remuda_using_subcommand run" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand run" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand chat" -l system -d 'Instructions that stand before the conversation' -r
complete -c remuda -n "__fish_remuda_using_subcommand chat" -l temperature -d 'How freely words are chosen: 0 always takes the likeliest' -r
complete -c remuda -n "__fish_remuda_using_subcommand chat" -l seed -d 'Makes equal questions get equal answers' -r
complete -c remuda -n "__fish_remuda_using_subcommand chat" -l max-tokens -d 'The most tokens of an answer' -r
complete -c remuda -n "__fish_remuda_using_subcommand chat" -l num-ctx -d 'The context length to ask for' -r
complete -c remuda -n "__fish_remuda_using_subcommand chat" -s o -l option -d 'Any other option in Ollama\'s names, as in `-o top_k=40`. Repeatable' -r
complete -c remuda -n "__fish_remuda_using_subcommand chat" -l think -d 'Let a thinking model think: true, false, low, medium or high' -r
complete -c remuda -n "__fish_remuda_using_subcommand chat" -l format -d '`json`, or a JSON schema that the answer must follow' -r
complete -c remuda -n "__fish_remuda_using_subcommand chat" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand chat" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand chat" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand chat" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand requests" -l model -d 'Only requests for this model' -r
complete -c remuda -n "__fish_remuda_using_subcommand requests" -l node -d 'Only requests that this node served' -r
complete -c remuda -n "__fish_remuda_using_subcommand requests" -l outcome -d 'Only requests that ended so' -r -f -a "ok\t'Answered in full'
client_error\t'The client\'s mistake'
rejected\t'Turned away by a limit'
failed\t'No node could answer'
cancelled\t'The client went away'
truncated\t'The answer broke off after it had begun'"
complete -c remuda -n "__fish_remuda_using_subcommand requests" -l since -d 'Only requests since this long ago (30m, 12h, 7d) or this time (RFC 3339)' -r
complete -c remuda -n "__fish_remuda_using_subcommand requests" -l limit -d 'How many to show' -r
complete -c remuda -n "__fish_remuda_using_subcommand requests" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand requests" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand requests" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand requests" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand why" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand why" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand why" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand why" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand status" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand status" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand status" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand status" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand health" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand health" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand health" -s h -l help -d 'Print help'
complete -c remuda -n "__fish_remuda_using_subcommand health" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand doctor" -l config -d 'The configuration file (TOML). Without it: `REMUDA_CONFIG`, or remuda/remuda.toml in your configuration directory' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand doctor" -l listen -d 'Where to listen, as 127.0.0.1:11440 or 0.0.0.0:11440' -r
complete -c remuda -n "__fish_remuda_using_subcommand doctor" -l data -d 'The data directory. Nothing is written elsewhere. Without it: ~/.local/share/remuda' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand doctor" -l model -d 'A model file (GGUF) or directory (safetensors) for the embedded engine. Repeatable' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand doctor" -l models-dir -d 'A directory all of whose model files the embedded engine serves' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand doctor" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand doctor" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand doctor" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand completions" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand completions" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand completions" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand man" -l out -d 'Write one page for each command into this directory in place of printing the main page' -r -F
complete -c remuda -n "__fish_remuda_using_subcommand man" -l server -d 'The server to talk to: a URL, HOST:PORT or HOST' -r
complete -c remuda -n "__fish_remuda_using_subcommand man" -l json -d 'Write JSON for programs in place of tables and sentences'
complete -c remuda -n "__fish_remuda_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c remuda -n "__fish_remuda_using_subcommand man" -s V -l version -d 'Print version'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "up" -d 'Start Remuda on this machine: gateway, control plane, embedded engine'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "setup" -d 'Make the first administrator with the set-up token that the first start printed'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "login" -d 'Sign in and keep the session for later commands'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "logout" -d 'End the session and forget it'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "whoami" -d 'Show who you are to the server'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "key" -d 'Make, list and revoke API keys'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "node" -d 'Add, list, drain and remove the servers behind the endpoint'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "models" -d 'List the models of the whole fleet'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "show" -d 'Show one model'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "ps" -d 'List the models that are in memory now'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "pull" -d 'Fetch a model onto nodes'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "rm" -d 'Remove a model from nodes'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "cp" -d 'Copy a model under another name'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "run" -d 'Ask a model one question'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "chat" -d 'Talk to a model'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "requests" -d 'List recent requests'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "why" -d 'Explain one request: where it went, why, and how long each part took'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "status" -d 'Show whether the server and its parts are well'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "doctor" -d 'Check configuration, ports, data directory, database and nodes, and say what to do'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "completions" -d 'Print a completion script for a shell'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "man" -d 'Print the manual page, or write one page for each command'
complete -c remuda -n "__fish_remuda_using_subcommand help; and not __fish_seen_subcommand_from up setup login logout whoami key node models show ps pull rm cp run chat requests why status doctor completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c remuda -n "__fish_remuda_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "create" -d 'Make a key. It is shown once'
complete -c remuda -n "__fish_remuda_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "list" -d 'List keys; their secrets are never shown again'
complete -c remuda -n "__fish_remuda_using_subcommand help; and __fish_seen_subcommand_from key" -f -a "revoke" -d 'Revoke a key: it stops working at once'
complete -c remuda -n "__fish_remuda_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "add" -d 'Put a server behind the endpoint. What it is gets detected'
complete -c remuda -n "__fish_remuda_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "list" -d 'List nodes with their state'
complete -c remuda -n "__fish_remuda_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "show" -d 'Show one node and its models'
complete -c remuda -n "__fish_remuda_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "drain" -d 'Send nothing new to a node; what runs there goes on to its end'
complete -c remuda -n "__fish_remuda_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "undrain" -d 'Send requests to a drained node again'
complete -c remuda -n "__fish_remuda_using_subcommand help; and __fish_seen_subcommand_from node" -f -a "remove" -d 'Take a node out of the fleet'
