package cli

// appHelp and commandHelp are the templates of the help texts.
const (
	appHelp = `mbk {{.Version}}: {{.Usage}}

USAGE
   {{.UsageText}}

COMMANDS{{range .VisibleCommands}}
   {{printf "%-10s" .Name}} {{.Usage}}{{end}}

   "mbk COMMAND --help" explains the options of a command.

EXIT STATUS
   0 done   1 failed   2 bad usage or configuration   3 damage found
   4 server busy, try again   130 interrupted
`
	commandHelp = `mbk {{.Name}}: {{.Usage}}

USAGE
   {{.UsageText}}

OPTIONS{{range .VisibleFlagCategories}}{{if .Name}}

   {{.Name}}{{end}}{{range .Flags}}
   {{.}}{{end}}{{end}}

EXIT STATUS
   0 done   1 failed   2 bad usage or configuration   3 damage found
   4 server busy, try again   130 interrupted
`
)
