package cli

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"mbk/internal/cli/options"
)

// The scripts are made here and not by a library. That of cobra for bash needs the
// package bash-completion, which many servers lack; those of urfave/cli complete names
// only. These complete words, files, folders and ids of backups too, and need only the
// shell.

func completionCommand(p *program) *command {
	var shells []string
	return &command{
		name: "completion", summary: "print a script that completes mbk's command line in a shell",
		usage: "mbk completion bash|zsh|fish",
		examples: "mbk completion bash > /etc/bash_completion.d/mbk\nsource <(mbk completion zsh)\n" +
			"mbk completion fish > ~/.config/fish/completions/mbk.fish",
		arguments: "bash|zsh|fish", args: &shells, options: options.NewSet(),
		run: func(context.Context) error {
			scripts := map[string]func([]*command) string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
			if len(shells) != 1 || scripts[shells[0]] == nil {
				return usagef("mbk completion needs the name of a shell: bash, zsh or fish")
			}
			_, err := fmt.Fprint(p.ui.Stdout, scripts[shells[0]](visible(p.commands)))
			return err
		},
	}
}

// completed is what a shell needs to know about an option.
type completed struct {
	names []string // with dashes, the long one first
	text  string
	value string   // its name in the help, "" for a switch
	words []string // possible values, nil for any
}

func (o completed) isFile() bool   { return o.value == "FILE" }
func (o completed) isFolder() bool { return o.value == "FOLDER" || o.value == "REPO" }
func (o completed) isTable() bool  { return o.value == "DB.NAME" }

// completions returns the options of a command, and those for help.
func completions(c *command) []completed {
	var all []completed
	for _, o := range c.options.Options() {
		one := completed{names: o.Dashed(), text: o.Text}
		if o.TakesWord() {
			one.value, one.words = o.Placeholder, choices(o)
		}
		all = append(all, one)
	}
	return append(all, completed{names: []string{helpOption, "-h"}, text: "list the options"},
		completed{names: []string{helpAllOption}, text: "explain all options"})
}

// choices finds the possible values of an option in its text: those after the colon in
// "as KIND: auto, bar or none", or "tcp|socket" in the name of its value.
func choices(o *options.Option) []string {
	if strings.Contains(o.Placeholder, "|") {
		return alternatives(o.Placeholder)
	}
	_, rest, _ := strings.Cut(o.Text, o.Placeholder)
	_, list, found := strings.Cut(rest, ": ")
	if !found {
		return nil
	}
	list = regexp.MustCompile(` \([^)]*\)|\[[^]]*\]|:[A-Z]+|;.*`).ReplaceAllString(list, "") // remarks and variants
	var words []string
	for _, word := range strings.Split(strings.ReplaceAll(list, " or ", ", "), ", ") {
		if !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(word) {
			return nil // a sentence
		}
		words = append(words, word)
	}
	return slices.Compact(words)
}

// alternatives returns the words of "bash|zsh|fish", except those in capitals.
func alternatives(value string) []string {
	return slices.DeleteFunc(strings.Split(value, "|"), func(w string) bool { return strings.ToLower(w) != w })
}

// argumentWords returns the possible arguments of a command: words, and what "mbk complete" knows.
func argumentWords(c *command, all []*command) (words []string, ask string) {
	switch first, _, _ := strings.Cut(c.arguments, " "); {
	case first == "ID":
		return nil, "ids"
	case first == "ID|latest", first == "[ID|latest]":
		return []string{"latest"}, "ids"
	case first == "TABLE...":
		return nil, "tables"
	case first == "[COMMAND]":
		return commandNames(all), ""
	case strings.Contains(first, "|"):
		return alternatives(first), ""
	}
	return nil, ""
}

func commandNames(commands []*command) []string {
	var names []string
	for _, c := range commands {
		names = append(names, c.name)
	}
	return names
}

// bashCompletion needs bash 4.4.
func bashCompletion(commands []*command) string {
	var b strings.Builder
	b.WriteString(`# Completion of mbk for bash, made by "mbk completion bash".
_mbk() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]}
    local kind="" words="" options="" arguments="" ask="" repo="" i
    # bash takes --name=value for three words.
    [[ $cur == = ]] && cur=""
    [[ $prev == = ]] && prev=${COMP_WORDS[COMP_CWORD-2]}
    ((COMP_CWORD == 1)) && command=""
    if [[ $command == config && $COMP_CWORD -gt 2 && ${COMP_WORDS[2]} != -* ]]; then
        command=${COMP_WORDS[2]}
    fi
    case $command in
`)
	fmt.Fprintf(&b, "    \"\"|help) arguments=%q ;;\n", strings.Join(commandNames(commands), " "))
	for _, command := range commands {
		words, ask := argumentWords(command, commands)
		fmt.Fprintf(&b, "    %s)\n        arguments=%q ask=%q\n        options=%q\n        case $prev in\n",
			command.name, strings.Join(words, " "), ask, allNames(command))
		for _, o := range completions(command) {
			if o.value == "" {
				continue
			}
			what := "kind=free"
			switch {
			case o.words != nil:
				what = fmt.Sprintf("kind=words words=%q", strings.Join(o.words, " "))
			case o.isFile():
				what = `kind="file"`
			case o.isFolder():
				what = "kind=folder"
			case o.isTable():
				what = `kind="" arguments="" ask=tables`
			}
			fmt.Fprintf(&b, "        %s) %s ;;\n", strings.Join(o.names, "|"), what)
		}
		b.WriteString("        esac\n        ;;\n")
	}
	b.WriteString(`    esac
    COMPREPLY=()
    case $kind in
    file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
    folder) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
    words) mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur"); return ;;
    free) return ;;
    esac
    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
        return
    fi
    if [[ $ask ]]; then
        for ((i = 2; i < COMP_CWORD; i++)); do
            [[ ${COMP_WORDS[i]} == --repo || ${COMP_WORDS[i]} == -r ]] || continue
            repo=${COMP_WORDS[i+1]}
            [[ $repo == = ]] && repo=${COMP_WORDS[i+2]}
        done
        arguments+=" $(mbk complete $ask ${repo:+"--repo=${repo/#\~/$HOME}"} 2>/dev/null)"
    fi
    mapfile -t COMPREPLY < <(compgen -W "$arguments" -- "$cur")
}
complete -F _mbk mbk
`)
	return b.String()
}

// allNames returns all names of a command's options in one string.
func allNames(c *command) string {
	var names []string
	for _, o := range completions(c) {
		names = append(names, o.names...)
	}
	return strings.Join(names, " ")
}

// zshCompletion may be sourced, or put into a folder of fpath as _mbk.
func zshCompletion(commands []*command) string {
	var b strings.Builder
	b.WriteString(`#compdef mbk
# Completion of mbk for zsh, made by "mbk completion zsh".
_mbk_ask() {
  local -a words
  local repo=${opt_args[--repo]:-${opt_args[-r]}}
  words=(${(f)"$(mbk complete $1 ${repo:+--repo=${(Q)~repo}} 2>/dev/null)"})
  compadd -a words
}
_mbk() {
  local curcontext=$curcontext state line
  typeset -A opt_args
  local -a commands
  commands=(
`)
	for _, command := range commands {
		fmt.Fprintf(&b, "    %s\n", zshQuoted(command.name+":"+strings.ReplaceAll(command.summary, ":", `\:`)))
	}
	b.WriteString(`  )
  if (( CURRENT == 2 )); then
    _describe command commands
    return
  fi
  local command=$words[2]
  if [[ $command == help ]]; then
    _describe command commands
    return
  fi
  shift words
  (( CURRENT-- ))
  case $command in
`)
	for _, command := range commands {
		fmt.Fprintf(&b, "  %s)\n    _arguments -s \\\n", command.name)
		for _, o := range completions(command) {
			b.WriteString("      " + zshOption(o) + " \\\n")
		}
		what := ""
		switch words, ask := argumentWords(command, commands); {
		case ask == "ids" && words != nil:
			what = "'1:backup:{compadd latest; _mbk_ask ids}' "
		case ask == "ids":
			what = "'1:backup:{_mbk_ask ids}' "
		case ask == "tables":
			what = "'*:table:{_mbk_ask tables}' "
		case words != nil:
			what = "'1:argument:(" + strings.Join(words, " ") + ")' "
		}
		b.WriteString("      " + what + "&& return\n    ;;\n")
	}
	b.WriteString(`  esac
}
if [[ ${funcstack[1]} == _mbk ]]; then
  _mbk "$@"
else
  compdef _mbk mbk
fi
`)
	return b.String()
}

// zshOption returns an option in the syntax of _arguments.
func zshOption(o completed) string {
	text := strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(o.text)
	action, glue := "", ""
	if o.value != "" {
		glue = "="
		action = ":" + strings.ToLower(strings.ReplaceAll(o.value, ":", " ")) + ":"
		switch {
		case o.words != nil:
			action += "(" + strings.Join(o.words, " ") + ")"
		case o.isFile():
			action += "_files"
		case o.isFolder():
			action += "_files -/"
		case o.isTable():
			action += "{_mbk_ask tables}"
		default:
			action += " " // any value
		}
	}
	if len(o.names) == 1 {
		return zshQuoted("*" + o.names[0] + glue + "[" + text + "]" + action)
	}
	var all []string
	for _, name := range o.names {
		glued := ""
		if strings.HasPrefix(name, "--") {
			glued = glue
		}
		all = append(all, zshQuoted("("+strings.Join(o.names, " ")+")"+name+glued+"["+text+"]"+action))
	}
	return strings.Join(all, " ")
}

// zshQuoted returns a word in single quotes. fish escapes a quote differently.
func zshQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

func fishCompletion(commands []*command) string {
	quoted := func(text string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
	}
	var b strings.Builder
	b.WriteString(`# Completion of mbk for fish, made by "mbk completion fish".
function __mbk_ask
    set -l words (commandline -opc)
    set -l repo
    for i in (seq (count $words))
        string match -qr -- '^(--repo|-r)$' $words[$i]; and set repo --repo=$words[(math $i + 1)]
        string match -q -- '--repo=*' $words[$i]; and set repo $words[$i]
    end
    mbk complete $argv[1] $repo 2>/dev/null
end
complete -c mbk -f
`)
	fmt.Fprintf(&b, "complete -c mbk -n '__fish_seen_subcommand_from help' -a %s\n",
		quoted(strings.Join(commandNames(commands), " ")))
	for _, command := range commands {
		fmt.Fprintf(&b, "complete -c mbk -n __fish_use_subcommand -a %s -d %s\n", command.name, quoted(command.summary))
		condition := quoted("__fish_seen_subcommand_from " + command.name)
		words, ask := argumentWords(command, commands)
		if ask != "" {
			fmt.Fprintf(&b, "complete -c mbk -n %s -a '(__mbk_ask %s)'\n", condition, ask)
		}
		if words != nil {
			fmt.Fprintf(&b, "complete -c mbk -n %s -a %s\n", condition, quoted(strings.Join(words, " ")))
		}
		for _, o := range completions(command) {
			fmt.Fprintf(&b, "complete -c mbk -n %s", condition)
			for _, name := range o.names {
				if long, ok := strings.CutPrefix(name, "--"); ok {
					fmt.Fprintf(&b, " -l %s", long)
				} else {
					fmt.Fprintf(&b, " -s %s", strings.TrimPrefix(name, "-"))
				}
			}
			switch {
			case o.words != nil:
				fmt.Fprintf(&b, " -x -a %s", quoted(strings.Join(o.words, " ")))
			case o.isFile():
				b.WriteString(" -r -F")
			case o.isFolder():
				b.WriteString(" -x -a '(__fish_complete_directories)'")
			case o.isTable():
				b.WriteString(" -x -a '(__mbk_ask tables)'")
			case o.value != "":
				b.WriteString(" -x")
			}
			fmt.Fprintf(&b, " -d %s\n", quoted(o.text))
		}
	}
	return b.String()
}
