package cli

import (
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name: "config", Usage: "print the options of a command, and where each was set",
		UsageText: "mbk config [COMMAND] [OPTIONS OF THE COMMAND]\n\nmbk config\nmbk config restore --target /var/lib/mysql --json",
		ArgsUsage: "[COMMAND]",
		Flags:     append(outputFlags(), fileFlags()...),
		Action:    func(*cli.Context) error { return usagef("mbk config takes the name of a command first") },
	}
}

// explainInstead makes a call of "config" one of the command that it is about,
// which then prints its options and does nothing else.
func explainInstead(app *cli.App, env Env, args []string) []string {
	if len(args) == 0 || args[0] != "config" {
		return args
	}
	name, rest := "backup", slices.Clone(args[1:])
	for i := 0; i < len(rest); i++ {
		if strings.HasPrefix(rest[i], "-") {
			if valueFollows(app, rest[i]) {
				i++
			}
			continue
		}
		if command := app.Command(rest[i]); command != nil && command.Name != "config" {
			name, rest = command.Name, slices.Delete(rest, i, i+1)
		}
		break
	}
	app.Command(name).Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return usagef("mbk config takes the name of one command and its options, not %q", c.Args().First())
		}
		if err := resolve(c, env); err != nil {
			return err
		}
		return printConfig(c, env)
	}
	return append([]string{name}, rest...)
}

// valueFollows reports whether some command's option has its value in the next
// argument.
func valueFollows(app *cli.App, arg string) bool {
	return slices.ContainsFunc(app.Commands, func(command *cli.Command) bool {
		_, follows := spell(command.Flags, arg)
		return follows
	})
}

// configDocument is what "config --json" prints.
type configDocument struct {
	Command string         `json:"command"`
	Options []configOption `json:"options"`
}

// configOption is an option and its value. The value is as one would write it,
// "" if the default is none; secrets are masked.
type configOption struct {
	Name     string   `json:"name"`
	Value    string   `json:"value"`
	Values   []string `json:"values,omitempty"` // of an option that may be repeated
	Source   string   `json:"source"`           // default, file, variable or flag
	Variable string   `json:"variable,omitempty"`
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"`
	Group    string   `json:"group,omitempty"`
}

func printConfig(c *cli.Context, env Env) error {
	d := configDocument{Command: c.Command.Name}
	lines := []string{"OPTION\tVALUE\tFROM"}
	for _, f := range c.Command.Flags {
		o := explain(c, env, f)
		d.Options = append(d.Options, o)
		from := env.sources[o.Name].String()
		if o.Group != "" {
			from += " [" + o.Group + "]"
		}
		lines = append(lines, o.Name+"\t"+orDefault(o.Value, "-")+"\t"+from)
	}
	for _, name := range strangeVariables(c.App.Commands, os.Environ()) {
		say(env, c, "$%s is set, but no command has such an option", name)
	}
	if c.Bool("json") {
		return document(env, d)
	}
	return rows(env, lines)
}

// strangeVariables are those that look like an option's, and are none's.
func strangeVariables(commands []*cli.Command, environ []string) []string {
	known := map[string]bool{mailPasswordVariable: true, secretVariables: true} // no option: a command line is for all to see
	for _, command := range commands {
		for _, f := range command.Flags {
			for _, name := range longNames(f) {
				known[variable(name)] = true
			}
		}
	}
	var strange []string
	for _, line := range environ {
		if name, _, _ := strings.Cut(line, "="); strings.HasPrefix(name, variable("")) && !known[name] {
			strange = append(strange, name)
		}
	}
	return strange
}

// explain says what an option is and why.
func explain(c *cli.Context, env Env, f cli.Flag) configOption {
	from, name := env.sources[f.Names()[0]], f.Names()[0]
	o := configOption{
		Name: name, Source: [...]string{"default", "file", "variable", "flag"}[from.strength],
		Variable: from.variable, File: from.line.File, Line: from.line.Line, Group: from.line.Group,
	}
	switch f := f.(type) {
	case *cli.BoolFlag:
		if name != encryptOption || from.strength > byDefault { // else it depends on the server
			o.Value = map[bool]string{true: "on", false: "off"}[c.Bool(name)]
		}
	case *cli.DurationFlag:
		if d := c.Duration(name); d != 0 || from.strength > byDefault {
			o.Value = shortDuration(d)
		}
	case *cli.IntFlag:
		if n := c.Int(name); n != 0 || from.strength > byDefault {
			o.Value = strconv.Itoa(n)
		}
	case *cli.StringSliceFlag:
		for _, one := range c.StringSlice(name) {
			o.Values = append(o.Values, masked(name, one))
		}
		o.Value = strings.Join(o.Values, " ")
	case *cli.StringFlag:
		o.Value = masked(name, c.String(name))
		if name == passwordOption && from.strength > byDefault {
			o.Value = mask
		}
	default:
		o.Value = fmt.Sprint(f)
	}
	return o
}

// mask stands for a secret.
const mask = "***"

// masked is a value of an option without what is secret in it.
func masked(name, text string) string {
	secretive := regexp.MustCompile(`(?i)(password|passwd|secret|token|key)$`)
	if text != "" && secretive.MatchString(name) && !strings.HasPrefix(name, "ssl-") {
		return mask
	}
	if u, err := url.Parse(text); err == nil && u.Scheme != "" && u.Host != "" {
		if strings.Contains(name, "webhook") { // who knows such an address may use it
			return u.Scheme + "://" + u.Host + "/" + mask
		}
		return strings.Replace(u.Redacted(), ":xxxxx@", ":"+mask+"@", 1)
	}
	if program, arguments, found := strings.Cut(text, " "); found && strings.HasPrefix(name, "hook-") && strings.TrimSpace(arguments) != "" {
		return program + " " + mask // they may hold anything
	}
	inner := regexp.MustCompile(`(?i)^(--[a-z_-]*(?:password|passwd|secret|token|key)=).*`) // an option of mariadbd
	return inner.ReplaceAllString(text, "${1}"+mask)
}
