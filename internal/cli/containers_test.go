package cli_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// The image and the services of packaging/container do what they are for, in containers:
// the server in one, mbk in others, which share volumes and see no process of each other.
func TestContainers(t *testing.T) {
	mariadbtest.Rare(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root, for namespaces")
	}
	t.Parallel()
	oneAtATime(t)
	installDebian(t)
	shared := t.TempDir()
	shareServices(t, shared)
	cmd := exec.Command("testdata/containers/engine", built(t), containerFiles, shared)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setsid: true}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 || errors.Is(err, fs.ErrPermission) {
		t.Skipf("this machine has no namespaces: %v\n%s", err, out)
	}
	want := []string{
		"steps: ARG FROM COPY COPY RUN USER ENTRYPOINT CMD",
		"repository: mysql:mysql 700",
		"list -> 0",
		"says: pages, ",
		"healthcheck -> 0",
		"see -> 0",
		"says: CapEff:\t0000000000000000",
		"says: no server among the processes",
		"archive --status -> 0",
		"says: running   by archive pid 1 ",
		"drill -> 0",
		"without --datadir -> 2",
		"says: name its data directory with --datadir if it is mounted elsewhere",
		"with --datadir -> 0",
		"as root -> 0",
		"as nobody in particular -> 2",
		"says: user 4321, who runs mbk, has no name on this system",
		"as another user -> 2",
		"says: run mbk as root or as the user that the server runs as",
		"over the running server -> 2",
		"says: it is in another container or on another machine",
		"backup stopped -> 143",
		"archive stopped -> 130",
		"db stopped -> 0",
		"restore -> 0",
		"restored: mysql mysql.old",
		"orders: 3",
		"db stopped -> 0",
		"finished",
	}
	facts := strings.Split(strings.TrimSuffix(readFile(t, filepath.Join(shared, "facts")), "\n"), "\n")
	if !slices.Equal(facts, want) {
		t.Errorf("%v\nfacts:\n%s\nwant:\n%s\noutput:\n%s", err, strings.Join(facts, "\n"), strings.Join(want, "\n"), out)
		for _, name := range []string{"db", "backup", "archive"} {
			t.Logf("%s:\n%s", name, readFile(t, filepath.Join(shared, name+".log")))
		}
	}
}

// shareServices writes down what the compose file says of its services, what the manifest
// of a restore calls, and the accounts that the image of the server makes.
func shareServices(t *testing.T, shared string) {
	t.Helper()
	compose, err := yamlDocuments(readFile(t, containerFiles+"compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	job, err := yamlDocuments(readFile(t, kubernetesFiles+"restore.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	service := func(path ...string) any { return at(compose[0], append([]string{"services"}, path...)...) }
	grants, _ := service("db", "environment", "MARIADB_MYSQL_LOCALHOST_GRANTS").(string)
	containers, _ := at(job[0], "spec", "template", "spec", "containers").([]any)
	if len(containers) != 1 {
		t.Fatalf("the Job has the containers %v", containers)
	}
	for name, lines := range map[string][]string{
		"db.volumes":       texts(service("db", "volumes")),
		"db.argv":          texts(service("db", "command")),
		"backup.volumes":   texts(service("backup", "volumes")),
		"backup.argv":      texts(service("backup", "entrypoint")),
		"healthcheck.argv": texts(service("backup", "healthcheck", "test"))[1:],
		"archive.volumes":  texts(service("archive", "volumes")),
		"archive.argv":     append([]string{"mbk"}, texts(service("archive", "command"))...),
		"restore.argv":     texts(at(containers[0], "args")),
		"accounts.sql": {
			"CREATE USER IF NOT EXISTS mysql@localhost IDENTIFIED VIA unix_socket;",
			"GRANT " + grants + " ON *.* TO mysql@localhost;",
			"CREATE USER IF NOT EXISTS backup@localhost IDENTIFIED BY 'secret';",
			"GRANT " + grants + " ON *.* TO backup@localhost;",
			"CREATE DATABASE IF NOT EXISTS shop;",
			"CREATE TABLE IF NOT EXISTS shop.orders SELECT seq AS id FROM shop.seq_1_to_3;",
		},
	} {
		if err := os.WriteFile(filepath.Join(shared, name), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
