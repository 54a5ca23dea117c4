package repo

import (
	"context"
	"fmt"
)

// cardBase is the restore card of a backup: how to get the server back, as text for people
// who have nothing but the repository. It is never encrypted.
const cardBase = "RESTORE.txt"

// PutCard stores the restore card of the backup. Everybody who reaches an encrypted repository
// may read it there, so that it gets one that says no name instead.
func (d *Draft) PutCard(ctx context.Context, text string) error {
	if d.repository.Encrypted() {
		text = namelessCard(d.id)
	}
	return d.putClear(ctx, cardBase, []byte(text))
}

// namelessCard is the card of a backup in an encrypted repository. It says no name of a table,
// a host or a folder, and no version of the server.
func namelessCard(id string) string {
	return fmt.Sprintf(`RESTORE CARD of the backup %[1]s

This folder holds a backup of a MariaDB server, made by mbk. It is encrypted. Whoever
reaches it may read this text, so the text names no server, no folder and no table.
With an identity the first command below prints the card with these names.

You need
  - the repository: the folder two levels above this text, or a copy of it
  - an identity: the file with the private key for one of the recipients that are
    named in mbk-repository.json
  - mbk, and a MariaDB server of the version that the card with the names tells

Set these first, with the places as they are now
    export MBK_REPO=REPOSITORY      # a folder, s3://BUCKET/PREFIX or sftp://USER@HOST/PATH
    export MBK_IDENTITY=FILE        # the identity

Print the card with all names, and what the server needs
    mbk card %[1]s

The whole server, as it was at the end of this backup
    mbk restore %[1]s --target DATADIR --keep-old
`, id)
}
