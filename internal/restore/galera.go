package restore

import (
	"fmt"
	"strings"

	"mbk/internal/hint"
	"mbk/internal/repo"
)

// grastateName is the file in which a node of a Galera cluster keeps what cluster it
// belongs to and up to where its data goes. A node that has none gets a full copy
// of another one, whatever its data say. Form: galera's saved_state.cpp.
const grastateName = "grastate.dat"

// checkGalera sees whether what is restored can be a node, and tells how.
func (p *Plan) checkGalera() {
	g := p.manifest.Galera
	switch {
	case g == nil && p.opts.GaleraNode:
		p.addObjection(Objection{
			Problem: "the source of the backup was no node of a Galera cluster",
			Hint:    "restore without " + hint.Option("galera-node"),
		})
	case g == nil || p.manifest.Filter != nil && !p.opts.GaleraNode:
	case !isUUID(g.UUID):
		p.note("the source was a node of a Galera cluster, but its state is none that Galera writes: %.80q", g.UUID)
		if p.opts.GaleraNode {
			p.addObjection(Objection{
				Problem: "the manifest of the backup does not name the state of a Galera cluster",
				Hint:    "restore without " + hint.Option("galera-node") + ", or another backup",
			})
		}
	case p.opts.GaleraNode && (p.manifest.Filter != nil || len(p.manifest.LeftOut) > 0):
		p.addObjection(Objection{
			Problem: "a node of a Galera cluster holds everything, and tables are left out here",
			Hint:    "restore without filters, of a backup of everything, or without " + hint.Option("galera-node"),
		})
	case p.opts.GaleraNode && len(p.manifest.Damaged) > 0:
		p.addObjection(Objection{
			Problem: "the backup holds damaged pages, which a node would bring into its cluster",
			Hint:    "restore another backup, or this one without " + hint.Option("galera-node"),
		})
	case p.opts.GaleraNode:
		p.note("as a node of its Galera cluster it continues after %s:%d", g.UUID, g.SeqNo)
	default:
		p.note("the source was a node of a Galera cluster, at %s:%d; to join that, restore with %s, "+
			"or the other nodes send all of their data",
			g.UUID, g.SeqNo, hint.Option("galera-node"))
	}
}

// isUUID reports whether a text is a UUID, as Galera writes the state of a cluster. It
// goes into a file of lines.
func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, c := range text {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdefABCDEF", c) {
				return false
			}
		}
	}
	return true
}

// writeGrastate makes the restored data those of a node.
func (d *dataDir) writeGrastate(g *repo.Galera) error {
	text := fmt.Sprintf("# GALERA saved state\nversion: 2.1\nuuid:    %s\nseqno:   %d\nsafe_to_bootstrap: 0\n", g.UUID,
		g.SeqNo)
	if err := d.writeText(grastateName, text); err != nil {
		return fmt.Errorf("make it a node of its cluster: %w", err)
	}
	return nil
}
