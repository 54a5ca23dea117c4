package hint

import (
	"fmt"
	"slices"
	"strings"
)

// Text is advice, and may name settings. It is a string so that plain sentences need no
// more than quotes, and others are put together with +. A setting stands in it between
// two NULs, which neither a path nor a name in MariaDB can have: only Option makes one.
type Text string

const mark = "\x00"

// Option names a setting by its name in mbk: Option("lock-wait"). How users write it is
// left to the front end.
func Option(name string) Text { return Text(mark + name + mark) }

// Plain makes texts of strings that name no setting.
func Plain(texts ...string) []Text {
	var all []Text
	for _, t := range texts {
		all = append(all, Text(t))
	}
	return all
}

// Textf formats as fmt.Sprintf does. Settings in arguments of type Text stay settings.
func Textf(format string, args ...any) Text {
	marked := slices.Clone(args)
	for i, arg := range args {
		if text, ok := arg.(Text); ok {
			marked[i] = string(text)
		}
	}
	return Text(fmt.Sprintf(format, marked...))
}

// Join puts texts together as strings.Join does.
func Join(texts []Text, separator string) Text {
	var all Text
	for i, t := range texts {
		if i > 0 {
			all += Text(separator)
		}
		all += t
	}
	return all
}

// Spell returns the text with the settings as spell writes them.
func (t Text) Spell(spell func(option string) string) string {
	parts := strings.Split(string(t), mark)
	for i := 1; i < len(parts); i += 2 {
		parts[i] = spell(parts[i])
	}
	return strings.Join(parts, "")
}

// Options returns the settings that the text names, in their order.
func (t Text) Options() []string {
	var names []string
	t.Spell(func(option string) string {
		names = append(names, option)
		return option
	})
	return names
}

// String spells settings as options of mbk's own command line. The documents that mbk
// writes and reads, such as the history, have them so whatever the front end is.
func (t Text) String() string {
	return t.Spell(func(option string) string { return "--" + option })
}

// MarshalText is for JSON.
func (t Text) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// Strings returns texts as String does.
func Strings(texts []Text) []string {
	var all []string
	for _, t := range texts {
		all = append(all, t.String())
	}
	return all
}
