# Completion of pagetide in fish: the command itself says what fits; where nothing does, files.
function __pagetide_complete
    env _PAGETIDE_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=$argv[1] \
        _TYPER_COMPLETE_ARGS=(commandline -cp) pagetide 2>/dev/null
end
complete --command pagetide --no-files --arguments "(__pagetide_complete get-args)" \
    --condition "__pagetide_complete is-args"
