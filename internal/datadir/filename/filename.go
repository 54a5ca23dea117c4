// Package filename knows how MariaDB names the files of databases and tables:
// letters, digits and "_" stand for themselves, other letters are "@" and two
// characters, everything else "@" and four hexadecimal digits (MariaDB's
// character set "filename", strings/ctype-utf8.c). Partitions add a suffix that
// begins with "#P#".
package filename

import (
	"path"
	"strconv"
	"strings"
	"unicode/utf8"
)

// uncoded precedes the name of a file that is not in the server's encoding when
// SQL speaks of it.
const uncoded = "#mysql50#"

// reserved follows names that are those of devices on some systems.
const reserved = "@@@"

// SQL returns the name by which SQL knows the database or table of a directory
// or file name (without extension).
func SQL(name string) string {
	if sql, ok := Decode(name); ok {
		return sql
	}
	return uncoded + name
}

// Uncoded reports whether a name that SQL returned is that of a file or folder which is
// not in the server's encoding. The server makes nothing by such a name.
func Uncoded(sql string) bool { return strings.HasPrefix(sql, uncoded) }

// Decode is the inverse of Encode. It is false for a name that Encode does not
// return.
func Decode(name string) (sql string, ok bool) {
	var b strings.Builder
	for rest := strings.TrimSuffix(name, reserved); rest != ""; {
		r, n := decodeOne(rest)
		if n == 0 {
			return "", false
		}
		b.WriteRune(r)
		rest = rest[n:]
	}
	return b.String(), b.Len() > 0 && Encode(b.String()) == name
}

// decodeOne returns the first character of an encoded name and its length, 0 if
// there is none.
func decodeOne(s string) (r rune, n int) {
	if plain(rune(s[0])) {
		return rune(s[0]), 1
	}
	if s[0] != '@' || len(s) < 3 {
		return 0, 0
	}
	if at := strings.Index(letters, " "+s[1:3]); at >= 0 {
		r, _ := utf8.DecodeRuneInString(letters[at+3:])
		return r, 3
	}
	if len(s) < 5 {
		return 0, 0
	}
	code, err := strconv.ParseUint(s[1:5], 16, 16)
	if err != nil {
		return 0, 0
	}
	return rune(code), 5
}

// plain reports whether a character stands for itself.
func plain(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_'
}

// Encode returns the directory or file name (without extension) of a database
// or table. Names of MariaDB hold characters of Unicode's first plane only.
func Encode(sql string) string {
	if name, ok := strings.CutPrefix(sql, uncoded); ok {
		return name
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	for _, r := range sql {
		if plain(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteByte('@')
		if at := strings.IndexRune(letters, r); at > 0 && r >= utf8.RuneSelf {
			b.WriteString(letters[at-2 : at])
			continue
		}
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(digits[r>>shift&15])
		}
	}
	if device(b.String()) {
		b.WriteString(reserved)
	}
	return b.String()
}

// device reports whether the server takes a name for that of a device.
func device(name string) bool {
	lower := strings.ToLower(name)
	switch lower {
	case "con", "prn", "aux", "nul":
		return true
	}
	return len(lower) == 4 && (lower[:3] == "com" || lower[:3] == "lpt") && lower[3] >= '1' && lower[3] <= '9'
}

// Base returns what all files of one table have in common: the name without the
// suffixes of partitions and of the hidden tables of vector indexes.
func Base(name string) string {
	base := name
	for _, suffix := range []string{"#P#", "#p#", "#i#"} {
		base, _, _ = strings.Cut(base, suffix)
	}
	if base == "" {
		return name
	}
	return base
}

// Temporary reports whether a file belongs to a table that the server makes for
// the time of a statement. Its name cannot be that of any other.
//
// The suffixes "#TMP#" and "#REN#" of partitions are not meant: the server gives
// them only within an ALTER that no backup stage from START on lets run.
func Temporary(name string) bool { return strings.HasPrefix(name, "#sql") }

// Undo reports whether a file is called as an undo tablespace is: undo001.
func Undo(name string) bool {
	digits, ok := strings.CutPrefix(name, "undo")
	return ok && len(digits) == 3 && digits != "000" && strings.Trim(digits, "0123456789") == ""
}

// FullText reports whether a file belongs to one of the hidden tables of an InnoDB
// full-text index, which the server also makes and drops in the background:
// "FTS_" and the table's id, then the name of a table that all its indexes share,
// or an index's id and the number of one of its six parts. A table of a user may
// be called FTS_ and something else.
func FullText(name string) bool {
	rest, ok := strings.CutPrefix(strings.TrimSuffix(name, path.Ext(name)), "FTS_")
	if !ok {
		return false
	}
	if rest, ok = cutID(rest); !ok {
		return false
	}
	switch rest {
	case "BEING_DELETED", "BEING_DELETED_CACHE", "CONFIG", "DELETED", "DELETED_CACHE":
		return true
	}
	rest, ok = cutID(rest)
	number, isIndex := strings.CutPrefix(rest, "INDEX_")
	return ok && isIndex && len(number) == 1 && number >= "1" && number <= "6"
}

// cutID removes 16 hexadecimal digits and an underscore from the beginning.
func cutID(s string) (rest string, ok bool) {
	const digits = 16
	if len(s) <= digits || s[digits] != '_' || strings.Trim(s[:digits], "0123456789abcdef") != "" {
		return s, false
	}
	return s[digits+1:], true
}

// FullTextParent returns InnoDB's number of the table to which the hidden table of
// a full-text index belongs.
func FullTextParent(name string) (id uint64, ok bool) {
	if !FullText(name) {
		return 0, false
	}
	id, err := strconv.ParseUint(name[4:20], 16, 64)
	return id, err == nil
}

// TriggerTable returns, out of the contents of a .TRN file, the SQL name of the
// table to which the trigger of the file's name belongs.
func TriggerTable(contents []byte) (table string, ok bool) {
	for line := range strings.Lines(string(contents)) {
		if value, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "trigger_table="); found {
			// As the server escapes strings in such files.
			return strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\0`, "\x00", `\z`, "\x1a", `\'`, "'").Replace(value),
				true
		}
	}
	return "", false
}
