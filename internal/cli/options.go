package cli

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/input/optfile"
	"mbk/stage"
)

// strength orders the places that give options their values.
type strength int

const (
	byDefault strength = iota
	byFile
	byVariable
	byFlag
)

// source is the place that gave an option its value.
type source struct {
	strength strength
	variable string          // its name, of the environment
	line     optfile.Setting // of an option file
}

func (s source) String() string {
	switch s.strength {
	case byFile:
		return fmt.Sprintf("%s, line %d", s.line.File, s.line.Line)
	case byVariable:
		return "$" + s.variable
	case byFlag:
		return "command line"
	}
	return "default"
}

// sources has the source of every option of a command that is not at its default.
type sources map[string]source

// behind tells where the options that a message speaks of were set, unless the
// user wrote them just now.
func (s sources) behind(message string) []string {
	named := regexp.MustCompile(`--([a-z][a-z-]*)`)
	var steps []string
	for _, m := range named.FindAllStringSubmatch(message, -1) {
		if from := s[m[1]]; from.strength == byFile || from.strength == byVariable {
			if step := fmt.Sprintf("%s is set in %s", m[0], from); !slices.Contains(steps, step) {
				steps = append(steps, step)
			}
		}
	}
	return steps
}

// groups of option files. Of those that are everybody's only the options that
// lead to a server count.
const ownGroup = "mbk"

// ownFile is an option file of mbk alone, which packages bring along. It is not
// in /etc/mysql, where a change makes Debian restart servers.
const ownFile = "/etc/mbk/mbk.cnf"

func sharedGroups() []string { return []string{"client", "client-server", "client-mariadb"} }

// variable is the name of an option's variable in the environment.
func variable(option string) string {
	return "MBK_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// resolve gives each option of a command that does not stand on the command line
// the value that the environment or else an option file has for it, and notes
// where it came from. The password's value stays where it is.
func resolve(c *cli.Context, env Env) error {
	typed := strings.Split(env.Getenv(secretVariables), ",")
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		from, text := variableOf(f, env)
		switch {
		case c.IsSet(name), name == passwordOption && env.prompt:
			env.sources[name] = source{strength: byFlag}
		case text != "":
			if err := assign(c, f, from, variableValues(f, text)); err != nil {
				return err
			}
			env.sources[name] = from
			if slices.Contains(typed, name) {
				env.sources[name] = source{strength: byFlag} // it was there before hide
			}
		}
	}
	opened := map[string]origin{}
	lines, err := optfile.Read(optfile.Options{
		File: c.String("defaults-file"), Extra: c.String("defaults-extra-file"), Global: []string{ownFile},
		Suffix: c.String("defaults-group-suffix"), NoDefaults: c.Bool("no-defaults"),
		Groups: append(sharedGroups(), ownGroup, ownGroup+"-"+c.Command.Name),
		Warn:   func(message string) { warn(env, message) }, Getenv: env.Getenv,
		Opened: func(path string, f *os.File) { opened[path] = originOf(path, f) },
	})
	if err != nil {
		return &usageError{message: err.Error()}
	}
	if err := judgeFiles(c, env, lines, opened); err != nil {
		return err
	}
	return resolveLines(c, env, lines)
}

// variableOf finds the value that the environment has for an option, by any of its
// names.
func variableOf(f cli.Flag, env Env) (from source, text string) {
	for _, name := range longNames(f) {
		if text = env.Getenv(variable(name)); text != "" {
			return source{strength: byVariable, variable: variable(name)}, text
		}
	}
	return source{}, ""
}

// variableValues are the values in a variable: of an option that may be repeated
// each line is one.
func variableValues(f cli.Flag, text string) []string {
	if isList(f) {
		return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	}
	return []string{text}
}

// resolveLines is resolve for the lines of option files. Of several lines for one
// option the last one counts, as in MariaDB's own programs, but those of the
// command's own group are stronger than all others. The lines of an option that
// may be repeated add up.
func resolveLines(c *cli.Context, env Env, lines []optfile.Setting) error {
	general := func(l optfile.Setting) bool { return l.Group != ownGroup+"-"+c.Command.Name }
	slices.SortStableFunc(lines, func(a, b optfile.Setting) int {
		switch {
		case general(a) == general(b):
			return 0
		case general(a):
			return -1
		}
		return 1
	})
	values := map[string][]string{}
	for _, line := range lines {
		f, off, ok := findOption(c.Command.Flags, line.Name)
		if shared := line.Group != ownGroup && general(line); shared && (!ok || !leadsToServer(f)) {
			continue
		}
		if !ok || inNoFile(f) {
			if err := unknownLine(c, line); err != nil {
				return err
			}
			continue
		}
		name := f.Names()[0]
		if env.sources[name].strength > byFile {
			continue
		}
		from := source{strength: byFile, line: line}
		text, err := lineValue(f, line, off)
		if err != nil {
			return usagef("%s: %s %v", from, line.Name, err)
		}
		if isList(f) {
			values[name] = append(values[name], text)
		} else {
			values[name] = []string{text}
		}
		env.sources[name] = from
	}
	for _, f := range c.Command.Flags {
		name := f.Names()[0]
		if err := assign(c, f, env.sources[name], values[name]); err != nil {
			return err
		}
	}
	return nil
}

// unknownLine is the error of a line in one of mbk's groups that names no option
// of the command. In the group of all commands it may be another one's.
func unknownLine(c *cli.Context, line optfile.Setting) error {
	if line.Loose {
		return nil
	}
	where := source{strength: byFile, line: line}
	for _, command := range c.App.Commands {
		f, _, ok := findOption(command.Flags, line.Name)
		switch {
		case ok && inNoFile(f):
			return usagef("%s: option %s cannot be set in an option file", where, line.Name)
		case ok && line.Group == ownGroup:
			return nil
		}
	}
	if line.Group == ownGroup {
		return usagef("%s: mbk has no option %q", where, line.Name)
	}
	return usagef("%s: mbk %s has no option %q", where, c.Command.Name, line.Name)
}

// inNoFile is for options that say which files are read.
func inNoFile(f cli.Flag) bool {
	return strings.Contains(f.Names()[0], "defaults")
}

func isList(f cli.Flag) bool {
	_, ok := f.(*cli.StringSliceFlag)
	return ok
}

func isBool(f cli.Flag) bool {
	_, ok := f.(*cli.BoolFlag)
	return ok
}

// leadsToServer reports whether MariaDB's own groups may set an option.
func leadsToServer(f cli.Flag) bool { return categoryOf(f) == categoryConnection }

// bareValue is the value of an option that may stand without one, "" of others.
// Such an option takes its value behind "=" only.
func bareValue(f cli.Flag) string {
	if f.Names()[0] == historyTableOption {
		return stage.DefaultHistoryTable
	}
	return ""
}

// longNames are the names of a flag that are words; the first one is its own.
func longNames(f cli.Flag) []string {
	return slices.DeleteFunc(slices.Clone(f.Names()), func(name string) bool { return len(name) == 1 })
}

// shortName is the name of a flag that is one letter, "" if it has none.
func shortName(f cli.Flag) string {
	for _, name := range f.Names() {
		if len(name) == 1 {
			return name
		}
	}
	return ""
}

// findOption finds an option by a long name. A switch may have a prefix, as in
// MariaDB's own programs: off says that the prefix turns it off.
func findOption(flags []cli.Flag, name string) (f cli.Flag, off, ok bool) {
	named := func(name string) (cli.Flag, bool) {
		i := slices.IndexFunc(flags, func(f cli.Flag) bool { return slices.Contains(longNames(f), name) })
		if i < 0 {
			return nil, false
		}
		return flags[i], true
	}
	if f, ok := named(name); ok {
		return f, false, true
	}
	for _, prefix := range []string{"enable-", "skip-", "disable-"} {
		if rest, found := strings.CutPrefix(name, prefix); found {
			if f, ok := named(rest); ok && isBool(f) {
				return f, prefix != "enable-", true
			}
		}
	}
	return nil, false, false
}

// lineValue is the value of an option in a line of an option file.
func lineValue(f cli.Flag, line optfile.Setting, off bool) (string, error) {
	switch {
	case line.HasValue || f.Names()[0] == passwordOption:
		return optionValue(f, line.Value, off)
	case isBool(f):
		return strconv.FormatBool(!off), nil
	case bareValue(f) != "":
		return bareValue(f), nil
	}
	return "", fmt.Errorf("needs a value")
}

// optionValue checks a value and gives it the form that the flag library wants.
func optionValue(f cli.Flag, text string, off bool) (string, error) {
	switch f.(type) {
	case *cli.BoolFlag:
		switch strings.ToLower(text) {
		case "1", "on", "true":
			return strconv.FormatBool(!off), nil
		case "0", "off", "false":
			return strconv.FormatBool(off), nil
		}
		return "", fmt.Errorf("%q is neither on nor off", text)
	case *cli.IntFlag:
		n, err := strconv.Atoi(text)
		if err != nil {
			return "", fmt.Errorf("%q is not a number", text)
		}
		return strconv.Itoa(n), nil
	case *cli.DurationFlag:
		d, err := time.ParseDuration(text)
		if seconds, notANumber := strconv.Atoi(text); notANumber == nil {
			d, err = time.Duration(seconds)*time.Second, nil // as in MariaDB's own programs
		}
		if err != nil {
			return "", fmt.Errorf("%q is not a duration such as 90s", text)
		}
		return d.String(), nil
	}
	return text, nil
}

// assign sets an option to values that a source other than the command line has.
func assign(c *cli.Context, f cli.Flag, from source, values []string) error {
	name := f.Names()[0]
	if name == passwordOption {
		return nil // nobody needs it before it is time to log in
	}
	for _, text := range values {
		text, err := optionValue(f, text, false)
		if err == nil {
			err = c.Set(name, text)
		}
		if err != nil {
			return usagef("%s: %s %v", from, name, err)
		}
	}
	return nil
}

// commandFirst moves the command before the options that were written before it, as
// in "mbk --repo /backup list". "version" and "-V" are the option of that name.
func commandFirst(app *cli.App, args []string) []string {
	if len(args) == 1 && (args[0] == "version" || args[0] == "-V") {
		return []string{"--version"}
	}
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		switch {
		case strings.HasPrefix(args[i], "-"):
			if valueFollows(app, args[i]) {
				i++
			}
		case i > 0 && app.Command(args[i]) != nil:
			return slices.Concat(args[i:i+1], args[:i], args[i+1:])
		case i > 0:
			return args[i:] // which is the mistake
		default:
			return args
		}
	}
	return args
}

// optionsFirst moves the options of a command before its arguments, because the
// flag library takes everything behind the first argument for one more, and
// spells them as that library knows them.
func optionsFirst(app *cli.App, args []string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	command := app.Command(args[0])
	if command == nil {
		return args, nil
	}
	var options, arguments []string
	for i := 1; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			arguments = append(arguments, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			arguments = append(arguments, arg)
			continue
		}
		spelled, needsValue := spell(command.Flags, arg)
		options = append(options, spelled...)
		if !needsValue {
			continue
		}
		if i++; i == len(args) {
			return nil, usagef("option %s needs a value", arg)
		}
		// A forgotten value must not swallow the next option, --dry-run perhaps.
		// The values of --mariadbd-option are options.
		if strings.HasPrefix(args[i], "--") && longName(arg) != "mariadbd-option" {
			return nil, usagef("option %s needs a value, but %s follows (if that is the value, write %s=%s)", arg, args[i], arg, args[i])
		}
		spelled, _ = spell(command.Flags, arg+"="+args[i])
		options = append(options[:len(options)-1], spelled...)
	}
	ordered := append([]string{args[0]}, options...)
	return append(append(ordered, "--"), arguments...), nil
}

// spell returns an option as the flag library knows it: "--name=value" or
// "--name". Underscores, prefixes and short options with a value glued to them
// are as in MariaDB's own programs. What is no option is left to the library,
// unless it is loose. needsValue is true if the next argument is the value.
func spell(flags []cli.Flag, arg string) (spelled []string, needsValue bool) {
	name, value, hasValue := strings.Cut(arg, "=")
	long, isLong := strings.CutPrefix(name, "--")
	if _, _, goWay := findOption(flags, strings.TrimPrefix(name, "-")); !isLong && !goWay { // else: -repo
		for _, f := range flags {
			if short := shortName(f); short != "" && strings.HasPrefix(arg, "-"+short) {
				switch rest := arg[len("-"+short):]; {
				case rest == "" && isBool(f):
					return []string{"--" + f.Names()[0]}, false
				case rest == "":
					return []string{"--" + f.Names()[0]}, true
				case rest[0] == '=' || !isBool(f): // -uroot, -P3307
					return []string{"--" + f.Names()[0] + "=" + strings.TrimPrefix(rest, "=")}, false
				}
			}
		}
	}
	long, loose := strings.CutPrefix(strings.ReplaceAll(strings.TrimPrefix(long, "-"), "_", "-"), "loose-")
	f, off, ok := findOption(flags, long)
	switch {
	case !ok && loose:
		return nil, false
	case !ok:
		return []string{arg}, false
	case !hasValue && bareValue(f) != "":
		return []string{"--" + f.Names()[0] + "=" + bareValue(f)}, false
	case !hasValue && !isBool(f):
		return []string{"--" + f.Names()[0]}, true
	case !hasValue:
		return []string{fmt.Sprintf("--%s=%t", f.Names()[0], !off)}, false
	}
	if text, err := optionValue(f, value, off); err == nil {
		value = text
	}
	return []string{"--" + f.Names()[0] + "=" + value}, false
}

// longName is the name in "--name=value" and "-name".
func longName(arg string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return name
}
