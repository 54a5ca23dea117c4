package cli_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const (
	containerFiles  = "../../packaging/container/"
	kubernetesFiles = "../../packaging/kubernetes/"
)

// The examples for containers have no field that the kinds of Kubernetes, or the compose
// files, do not have, and all that they must have.
func TestManifests(t *testing.T) {
	t.Parallel()
	for _, path := range manifests(t) {
		if err := manifestError(path, readFile(t, path)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, m := range []struct{ file, from, to string }{
		{"mariadb.yaml", "readOnlyRootFilesystem: true", "readOnlyRootFileSystem: true"},
		{"mariadb.yaml", "serviceName: db1\n", ""},
		{"mariadb.yaml", "clusterIP: None", "clusterIp: None"},
		{"mariadb.yaml", "apiVersion: apps/v1", "apiVersion: apps/v1beta1"},
		{"drill.yaml", "concurrencyPolicy:", "concurencyPolicy:"},
		{"drill.yaml", "mountPath: /var/tmp", "mountpath: /var/tmp"},
		{"restore.yaml", "backoffLimit: 0", "backoffLimit: none"},
		{"secret.yaml", "kind: Secret", "kind: Secrets"},
		{"mariadb-operator.yaml", "mountPath: /run/mysqld", "mountpath: /run/mysqld"},
		{"mariadb-operator.yaml", "image: registry.", "imagee: registry."},
		{"compose.yaml", "cap_drop:", "cap-drop:"},
		{"compose.yaml", "condition: service_healthy", "condition: healthy"},
		{"compose.s3.yaml", "secrets: [", "secret: ["},
	} {
		path := kubernetesFiles + m.file
		if strings.HasPrefix(m.file, "compose") {
			path = containerFiles + m.file
		}
		text := readFile(t, path)
		wrong := strings.Replace(text, m.from, m.to, 1)
		if err := manifestError(path, wrong); wrong == text || err == nil {
			t.Errorf("%s with %q for %q is not refused", m.file, m.to, m.from)
		}
	}
}

// manifests are the paths of all examples.
func manifests(t *testing.T) []string {
	t.Helper()
	kubernetes, err := filepath.Glob(kubernetesFiles + "*.yaml")
	files, failed := filepath.Glob(containerFiles + "*.yaml")
	if err := errors.Join(err, failed); err != nil || len(kubernetes) < 5 || len(files) < 2 {
		t.Fatalf("manifests: %v, %v, %v", kubernetes, files, err)
	}
	return append(kubernetes, files...)
}

// manifestError is what is wrong with an example.
func manifestError(path, text string) error {
	documents, err := yamlDocuments(text)
	if err != nil {
		return err
	}
	kinds, err := kubernetesSchema("")
	if err != nil {
		return err
	}
	compose, err := jsonschema.NewCompiler().Compile("testdata/compose/compose-spec.json")
	if err != nil {
		return err
	}
	for _, d := range documents {
		switch {
		case strings.HasPrefix(filepath.Base(path), "compose"):
			err = errors.Join(err, compose.Validate(d))
		case d["apiVersion"] == "k8s.mariadb.com/v1alpha1":
			err = errors.Join(err, operatorError(d))
		default:
			err = errors.Join(err, kinds.Validate(d))
		}
	}
	return err
}

// operatorError looks at those parts of a resource of mariadb-operator that have the
// fields of Kubernetes.
func operatorError(resource map[string]any) error {
	var err error
	for _, list := range []struct{ field, kind string }{
		{"volumes", "Volume"}, {"volumeMounts", "VolumeMount"}, {"sidecarContainers", "Container"},
	} {
		schema, failed := kubernetesSchema("#/definitions/" + list.kind)
		if failed != nil {
			return failed
		}
		all, _ := at(resource, "spec", list.field).([]any)
		for _, each := range all {
			err = errors.Join(err, schema.Validate(each))
		}
	}
	return err
}

// kubernetesSchema compiles the schema of all kinds, or the part of it for one type.
func kubernetesSchema(part string) (*jsonschema.Schema, error) {
	return jsonschema.NewCompiler().Compile("testdata/kubernetes/kubernetes.schema.json" + part)
}

// yamlDocuments decodes all documents of a file.
func yamlDocuments(text string) (all []map[string]any, err error) {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	for {
		var document map[string]any
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, document)
	}
}

// at is the value at a path in a document, nil if there is none.
func at(value any, path ...string) any {
	for _, name := range path {
		fields, _ := value.(map[string]any)
		value = fields[name]
	}
	return value
}

// walk calls visit with each object in a value.
func walk(value any, visit func(map[string]any)) {
	switch v := value.(type) {
	case map[string]any:
		visit(v)
		for _, each := range v {
			walk(each, visit)
		}
	case []any:
		for _, each := range v {
			walk(each, visit)
		}
	}
}

// No container of the examples has more rights than it needs, or a secret in its environment.
func TestManifestsAreHardened(t *testing.T) {
	t.Parallel()
	containers := 0
	for _, path := range manifests(t) {
		documents, err := yamlDocuments(readFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		walk(anyOf(documents), func(o map[string]any) {
			for name := range variables(o["environment"], o["env"]) {
				if regexp.MustCompile(`PASSWORD$|SECRET|AWS_`).MatchString(name) {
					t.Errorf("%s: the secret %s is in the environment", path, name)
				}
			}
			if pod, ok := at(o, "spec").(map[string]any); ok && pod["containers"] != nil &&
				at(pod, "securityContext", "runAsNonRoot") != true {
				t.Errorf("%s: a pod may run as root", path)
			}
			if _, isContainer := o["image"]; !isContainer || at(documents[0], "kind") == "MariaDB" || o["storage"] != nil {
				return // the operator's sidecars have no securityContext
			}
			containers++
			own, isPod := o["securityContext"].(map[string]any)
			caps, _ := at(own, "capabilities", "drop").([]any)
			switch {
			case isPod && own["readOnlyRootFilesystem"] == true && own["allowPrivilegeEscalation"] == false &&
				slices.Contains(caps, any("ALL")):
			case o["user"] == "mysql" && (o["read_only"] == true && o["cap_drop"] != nil || o["hostname"] != nil):
			default:
				t.Errorf("%s: %v is not hardened", path, o["name"])
			}
		})
	}
	if containers < 8 {
		t.Errorf("only %d containers were found", containers)
	}
}

func anyOf(documents []map[string]any) (all []any) {
	for _, d := range documents {
		all = append(all, d)
	}
	return all
}

// variables are the names of an environment, as compose files and as Kubernetes have it.
func variables(composes, kubernetes any) map[string]any {
	all := map[string]any{}
	if named, ok := composes.(map[string]any); ok {
		maps.Copy(all, named)
	}
	list, _ := kubernetes.([]any)
	for _, each := range list {
		name, _ := at(each, "name").(string)
		all[name] = each
	}
	return all
}

// Each call of mbk in the examples is one that mbk takes, with their option files: it comes
// as far as the repository, which is not there.
func TestManifestsCallMbkRight(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(t.TempDir(), "nowhere")
	calls := nightlyCalls(t)
	for _, path := range manifests(t) {
		documents, err := yamlDocuments(readFile(t, path))
		if err != nil {
			t.Fatal(err)
		}
		walk(anyOf(documents), func(o map[string]any) { calls = append(calls, callsOf(o)...) })
	}
	if len(calls) < 14 || !slices.ContainsFunc(calls, func(call []string) bool { return call[0] == "mbk-nightly" }) {
		t.Errorf("only these calls were found: %q", calls)
	}
	done := map[string]bool{}
	for _, call := range calls {
		if text := strings.Join(call, " "); done[text] {
			continue
		} else if done[text] = true; call[0] == "mbk-nightly" {
			wantUsage(t, call[1:])
			continue
		}
		for _, file := range exampleOptionFiles(t) {
			o := in(t, []string{"MBK_REPO=" + nowhere}, append(slices.Clone(call[1:]), "--defaults-file="+file)...)
			if o.code != 2 || !strings.Contains(o.stderr, "open folder "+nowhere) {
				t.Errorf("%q with %s ends with %d: %s", call, file, o.code, o.stderr)
			}
		}
	}
}

// exampleOptionFiles are the option files of the examples, as files of this user.
func exampleOptionFiles(t *testing.T) []string {
	t.Helper()
	documents, err := yamlDocuments(readFile(t, kubernetesFiles+"mariadb.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	kubernetes, _ := at(documents[0], "data", "mbk.cnf").(string)
	if kubernetes == "" {
		t.Fatal("mariadb.yaml has no mbk.cnf")
	}
	return []string{optionFile(t, readFile(t, containerFiles+"mbk.cnf")), optionFile(t, kubernetes)}
}

// callsOf are the calls of mbk by a container, if an object describes one with mbk's image,
// or a command of a healthcheck. The entry point of the image is mbk.
func callsOf(o map[string]any) (calls [][]string) {
	if test := texts(at(o, "healthcheck", "test")); len(test) > 1 && test[1] == "mbk" {
		calls = append(calls, test[1:])
	}
	image, _ := o["image"].(string)
	if !strings.Contains(image, "mbk:") && o["entrypoint"] == nil {
		return calls
	}
	program, args := texts(o["command"]), texts(o["args"])
	if entry := texts(o["entrypoint"]); len(entry) > 0 {
		program, args = entry, texts(o["command"])
	} else if o["name"] == nil { // of a compose file, where "command" are the arguments
		program, args = nil, program
	}
	if len(program) == 0 {
		program = []string{"mbk"}
	}
	if call := append(program, args...); len(call) > 1 {
		calls = append(calls, call)
	}
	return calls
}

// texts is a list of texts.
func texts(value any) (all []string) {
	list, _ := value.([]any)
	for _, each := range list {
		text, _ := each.(string)
		all = append(all, text)
	}
	return all
}

// nightlyCalls are the calls of mbk by mbk-nightly.
func nightlyCalls(t *testing.T) (calls [][]string) {
	t.Helper()
	for _, m := range regexp.MustCompile(`run (mbk [^&|;>\n]*?) *(?:2>|[&|;]|\n)`).FindAllStringSubmatch(readFile(t,
		containerFiles+"mbk-nightly"), -1) {
		calls = append(calls, strings.Fields(m[1]))
	}
	if len(calls) != 5 {
		t.Errorf("mbk-nightly has the calls %q", calls)
	}
	return calls
}

// wantUsage has mbk-nightly look at arguments as they are, and at wrong ones. For right ones
// it goes on to mbk, which is not there, and waits until it is stopped.
func wantUsage(t *testing.T, args []string) {
	t.Helper()
	const stopped = 124 // of timeout
	for _, c := range []struct {
		args []string
		code int
	}{{args, stopped}, {[]string{"26:99"}, 2}, {nil, 2}, {append(slices.Clone(args[:1]), "--bogus"), 2}} {
		var said bytes.Buffer
		cmd := exec.Command("timeout", append([]string{"1", containerFiles + "mbk-nightly"}, c.args...)...)
		cmd.Env, cmd.Stderr = []string{"PATH=" + pathWithout(t, "mbk")}, &said
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != c.code {
			t.Errorf("mbk-nightly %q: %v, want code %d: %s", c.args, err, c.code, said.String())
		}
	}
}

// pathWithout is $PATH without the folders that have a program.
func pathWithout(t *testing.T, program string) string {
	t.Helper()
	return strings.Join(slices.DeleteFunc(filepath.SplitList(os.Getenv("PATH")), func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, program))
		return err == nil
	}), ":")
}
