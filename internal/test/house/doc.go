// Package house holds the tests that keep this repository to its own rules: who
// may import whom, what code below the command line must not call, and that the
// documents say what the program does. It has no code of its own.
package house
