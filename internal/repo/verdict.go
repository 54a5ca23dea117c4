package repo

import "slices"

// Outcome is what a verification came to.
type Outcome string

// The outcomes of a verification. They are kept apart wherever one is shown: only the
// first two prove anything, and only VerdictDamaged speaks against a backup.
const (
	// VerdictProven: everything that the depth looks at is as it should be.
	VerdictProven Outcome = "proven"

	// VerdictAsOnSource: likewise, except for tables with which something was wrong on
	// the source already, such as one that waits for mariadb-upgrade.
	VerdictAsOnSource Outcome = "as-on-source"

	// VerdictDamaged: the bytes are not those that were written, or a server that
	// worked on them says that they are damaged.
	VerdictDamaged Outcome = "damaged"

	// VerdictUndone: the verification could not be carried out. Nothing is known of
	// the backup that was not known before.
	VerdictUndone Outcome = "not-carried-out"
)

// Verdict is the outcome of a verification with the reason, "" if it is proven.
type Verdict struct {
	Outcome Outcome `json:"verdict"`
	Reason  string  `json:"reason,omitempty"`
}

// Proves reports whether the backup was found whole.
func (v Verdict) Proves() bool {
	return v.Outcome == VerdictProven || v.Outcome == VerdictAsOnSource
}

// CarriedOut reports whether the verification says anything about the backup.
func (v Verdict) CarriedOut() bool { return v.Outcome != VerdictUndone }

// resolve fills in the outcome of a record that was written before there were
// four, and makes OK agree with it.
func (v *Verification) resolve() {
	switch {
	case v.Outcome == "" && v.OK:
		v.Outcome = VerdictProven
	case v.Outcome == "":
		v.Outcome = VerdictDamaged
	}
	v.OK = v.Proves()
}

// carriedOut leaves out verifications that could not be carried out.
func carriedOut(all []Verification) []Verification {
	return slices.DeleteFunc(slices.Clone(all), func(v Verification) bool { return !v.CarriedOut() })
}
