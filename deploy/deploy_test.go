// Package deploy_test holds the files here against the code: names of variables, metrics, ports and paths are those that
// the program has.
package deploy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/handstamp/handstamp"
	"github.com/handstamp/handstamp/account"
	"github.com/handstamp/handstamp/internal/config"
	"github.com/handstamp/handstamp/login"
	"github.com/handstamp/handstamp/revoke"
	"github.com/handstamp/handstamp/server"
	"github.com/handstamp/handstamp/store/memory"
)

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func load(t testing.TB, path string) []any {
	t.Helper()
	docs, err := yamlDocuments(read(t, path))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return docs
}

// files are all that is deployed, without the tests.
func files(t testing.TB) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == "secrets" {
			return fs.SkipDir
		}
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, ".go") {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestVariables: every HANDSTAMP_ variable that is named anywhere is a key of the configuration.
func TestVariables(t *testing.T) {
	known := map[string]bool{"HANDSTAMP_CONFIG": true}
	for _, k := range config.Keys() {
		known[k.Env] = true
	}
	found := 0
	for _, path := range files(t) {
		for _, name := range regexp.MustCompile(`HANDSTAMP_[A-Z0-9_]+`).FindAllString(read(t, path), -1) {
			found++
			if !known[name] {
				t.Errorf("%s: %s is no variable", path, name)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d variables", found)
	}
}

// secretFiles answers for the files with secrets that the samples name, as whoever deploys makes them.
func secretFiles(name string) ([]byte, error) {
	switch filepath.Base(name) {
	case "secret":
		return []byte("b2c1f0a79d3e58467c0b1a2938475665f4e3d2c1\n"), nil
	case "database":
		return []byte("postgres://handstamp:pw@postgres:5432/handstamp?sslmode=verify-full\n"), nil
	case "cache":
		return []byte("rediss://handstamp:pw@redis:6379\n"), nil
	}
	return nil, fs.ErrNotExist
}

// accepted loads a configuration as the program does: there is no mistake and no warning.
func accepted(t *testing.T, where string, src config.Sources) *config.Config {
	t.Helper()
	if src.ReadFile == nil {
		src.ReadFile = secretFiles
	}
	cfg, warnings, err := config.Load(src)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%s: %v, warnings %v", where, err, warnings)
	}
	return cfg
}

func environment(v any) []string {
	var env []string
	switch x := v.(type) {
	case map[string]any: // compose
		for k, value := range x {
			env = append(env, k+"="+fmt.Sprint(value))
		}
	case []any: // Kubernetes
		for _, item := range x {
			m := item.(map[string]any)
			env = append(env, fmt.Sprint(m["name"])+"="+fmt.Sprint(m["value"]))
		}
	}
	return slices.DeleteFunc(env, func(e string) bool { return !strings.HasPrefix(e, "HANDSTAMP_") })
}

// image is what the Containerfile sets.
func image(t *testing.T) (env []string, last map[string]string) {
	t.Helper()
	last = map[string]string{}
	stage := ""
	for line := range strings.Lines(read(t, "Containerfile")) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "", "#":
			continue
		case "FROM":
			stage, env, last = rest, nil, map[string]string{}
		case "ENV":
			env = append(env, strings.Fields(rest)...)
		case "ARG", "COPY", "RUN", "USER", "WORKDIR", "EXPOSE", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "CMD":
		default:
			if !strings.HasPrefix(word, "#") {
				t.Errorf("Containerfile: what is %s?", word)
			}
		}
		last[word] = rest
	}
	if stage != "scratch" {
		t.Errorf("the last stage is %q", stage)
	}
	return env, last
}

func TestContainerfile(t *testing.T) {
	env, last := image(t)
	if last["USER"] != "65532:65532" {
		t.Errorf("USER is %q", last["USER"])
	}
	if _, has := last["RUN"]; has {
		t.Error("scratch has nothing to RUN with")
	}
	for _, name := range []string{"ENTRYPOINT", "CMD"} {
		var args []string
		if err := json.Unmarshal([]byte(last[name]), &args); err != nil {
			t.Errorf("%s: there is no shell: %v", name, err)
		}
	}
	cfg := accepted(t, "Containerfile", config.Sources{Environ: env})
	if cfg.Addr != ":8080" || last["EXPOSE"] != "8080" || !strings.Contains(last["HEALTHCHECK"], `CMD ["/handstamp", "doctor", "--ready"`) {
		t.Errorf("addr %s, EXPOSE %s, HEALTHCHECK %s", cfg.Addr, last["EXPOSE"], last["HEALTHCHECK"])
	}
	for _, line := range []string{"deploy/compose/secrets", ".git"} {
		if !strings.Contains(read(t, "Containerfile.dockerignore"), "\n"+line+"\n") {
			t.Errorf("%s gets into the build", line)
		}
	}
}

func TestCompose(t *testing.T) {
	doc := load(t, "compose/compose.yaml")[0]
	fromImage, _ := image(t)
	cfg := accepted(t, "compose", config.Sources{Environ: append(fromImage, environment(at(t, doc, "services.node1.environment"))...)})
	if cfg.Database.Kind != config.KindPostgres || cfg.Cache.Kind != config.KindRedis || len(cfg.Secret) != 1 || len(cfg.TrustedProxies) != 1 {
		t.Errorf("%v %v", cfg.Database, cfg.Cache)
	}
	if at(t, doc, "services.node2.extends.service") != "node1" {
		t.Error("node2 is not as node1")
	}
	subnet := at(t, doc, "networks.inside.ipam.config.0.subnet")
	if cfg.TrustedProxies[0].String() != subnet {
		t.Errorf("the network is %v, and trusted is %v", subnet, cfg.TrustedProxies)
	}
	maker := read(t, "compose/make-secrets")
	declared := at(t, doc, "secrets").(map[string]any)
	for name, service := range at(t, doc, "services").(map[string]any) {
		uses, _ := service.(map[string]any)["secrets"].([]any)
		for _, s := range uses {
			if declared[s.(string)] == nil {
				t.Errorf("%s: the secret %s is not declared", name, s)
			}
		}
	}
	for name := range declared {
		if !strings.Contains(maker, "secrets.new/"+name) {
			t.Errorf("make-secrets does not make %s", name)
		}
	}
	_, port, _ := strings.Cut(cfg.Addr, ":")
	caddy := read(t, "compose/Caddyfile")
	if !strings.Contains(caddy, "reverse_proxy node1:"+port+" node2:"+port+" {") || !strings.Contains(caddy, "health_uri /healthz") || !strings.Contains(caddy, "\nlocalhost {") {
		t.Error("the Caddyfile does not fit")
	}
	if cfg.PublicURL.String() != "https://localhost" {
		t.Errorf("public_url is %s, and the proxy answers for https://localhost", cfg.PublicURL)
	}
}

// TestMakeSecrets runs the script: the server takes what it makes, and it makes nothing twice.
func TestMakeSecrets(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "make-secrets")
	if err := os.WriteFile(script, []byte(read(t, "compose/make-secrets")), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("sh", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	env := []string{"HANDSTAMP_PUBLIC_URL=https://localhost", "HANDSTAMP_TRUSTED_PROXIES=127.0.0.1"}
	for _, name := range []string{"secret", "database", "cache"} {
		env = append(env, "HANDSTAMP_"+strings.ToUpper(name)+"_FILE="+filepath.Join(dir, "secrets", name))
	}
	cfg := accepted(t, "make-secrets", config.Sources{Environ: env, Dir: dir, ReadFile: os.ReadFile})
	before := cfg.Secret[0].Reveal()
	if len(before) < 64 {
		t.Errorf("a secret of %d characters", len(before))
	}
	if err := exec.Command("sh", script).Run(); err == nil || strings.TrimSpace(read(t, filepath.Join(dir, "secrets", "secret"))) != before {
		t.Error("secrets that are there are replaced")
	}
}

func TestKubernetes(t *testing.T) {
	listed := map[string]bool{"secret.yaml": true, "kustomization.yaml": true}
	for _, r := range at(t, load(t, "kubernetes/kustomization.yaml")[0], "resources").([]any) {
		listed[r.(string)] = true
	}
	kinds := map[string]any{}
	entries, err := os.ReadDir("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !listed[e.Name()] {
			t.Errorf("%s is in no list", e.Name())
		}
		for _, doc := range load(t, "kubernetes/"+e.Name()) {
			kind := at(t, doc, "kind").(string)
			if kinds[kind] != nil {
				t.Errorf("two of kind %s", kind)
			}
			kinds[kind] = doc
		}
	}
	for _, kind := range []string{"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "Secret", "ServiceAccount", "Namespace"} {
		if kinds[kind] == nil {
			t.Fatalf("no %s", kind)
		}
	}
	labels := fmt.Sprint(at(t, kinds["Deployment"], "spec.template.metadata.labels"))
	for _, selector := range []any{
		at(t, kinds["Deployment"], "spec.selector.matchLabels"), at(t, kinds["Service"], "spec.selector"),
		at(t, kinds["PodDisruptionBudget"], "spec.selector.matchLabels"), at(t, kinds["NetworkPolicy"], "spec.podSelector.matchLabels"),
	} {
		if fmt.Sprint(selector) != labels {
			t.Errorf("%v selects no pod of %v", selector, labels)
		}
	}
	checkPod(t, kinds)
}

// checkPod holds the pod against the configuration that it gets, and against the profile "restricted".
func checkPod(t *testing.T, kinds map[string]any) {
	pod := at(t, kinds["Deployment"], "spec.template.spec")
	c := at(t, pod, "containers.0")
	fromImage, _ := image(t)
	env := environment(at(t, c, "env"))
	cfg := accepted(t, "kubernetes", config.Sources{Environ: append(slices.DeleteFunc(fromImage, func(e string) bool { return strings.HasPrefix(e, "HANDSTAMP_OPS_ADDR=") }), env...)})
	ports := map[string]string{}
	for _, p := range at(t, c, "ports").([]any) {
		m := p.(map[string]any)
		ports[m["name"].(string)] = fmt.Sprint(m["containerPort"])
	}
	if cfg.Addr != ":"+ports["http"] || cfg.OpsAddr != ":"+ports["ops"] {
		t.Errorf("addr %s and ops_addr %s, and the ports are %v", cfg.Addr, cfg.OpsAddr, ports)
	}
	for probe, path := range map[string]string{"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/healthz"} {
		if at(t, c, probe+".httpGet.path") != path || at(t, c, probe+".httpGet.port") != "ops" {
			t.Errorf("%s asks %v", probe, at(t, c, probe))
		}
	}
	if at(t, pod, "securityContext.runAsNonRoot") != true || at(t, pod, "securityContext.seccompProfile.type") != "RuntimeDefault" ||
		at(t, c, "securityContext.allowPrivilegeEscalation") != false || at(t, c, "securityContext.readOnlyRootFilesystem") != true ||
		fmt.Sprint(at(t, c, "securityContext.capabilities.drop")) != "[ALL]" || at(t, pod, "securityContext.runAsUser") != int64(65532) {
		t.Error("the pod is not restricted")
	}
	if fmt.Sprint(at(t, kinds["Deployment"], "spec.template.metadata.annotations")) != "map[prometheus.io/path:/metrics prometheus.io/port:"+ports["ops"]+" prometheus.io/scrape:true]" {
		t.Error("Prometheus is sent elsewhere")
	}
	mount := at(t, c, "volumeMounts.0.mountPath").(string)
	data := at(t, kinds["Secret"], "stringData").(map[string]any)
	for _, e := range env {
		name, path, _ := strings.Cut(e, "=")
		if file, below := strings.CutPrefix(path, mount+"/"); strings.HasSuffix(name, "_FILE") && (!below || data[file] != "") {
			t.Errorf("%s is not among the secrets %v, or has a value in the sample", e, slices.Collect(maps.Keys(data)))
		}
	}
	// What stops takes up to ten seconds, after the sleep; the policy lets proxies and Prometheus in, each at its port.
	grace, sleep := at(t, pod, "terminationGracePeriodSeconds").(int64), at(t, c, "lifecycle.preStop.sleep.seconds").(int64)
	if grace < sleep+12 {
		t.Errorf("%d s are too few for a sleep of %d s and a stop of 10", grace, sleep)
	}
	policy := kinds["NetworkPolicy"]
	if fmt.Sprint(at(t, policy, "spec.ingress.0.ports.0.port")) != ports["http"] || fmt.Sprint(at(t, policy, "spec.ingress.1.ports.0.port")) != ports["ops"] {
		t.Error("the policy admits others")
	}
}

func TestSystemd(t *testing.T) {
	unit := map[string][]string{}
	section := ""
	for line := range strings.Lines(read(t, "systemd/handstamp.service")) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || key != strings.TrimSpace(key) || value != strings.TrimSpace(value) {
			t.Errorf("%q is no KEY=VALUE", line)
		}
		unit[section+"."+key] = append(unit[section+"."+key], value)
	}
	for key, want := range map[string]string{
		"Service.NoNewPrivileges": "yes", "Service.ProtectSystem": "strict", "Service.DynamicUser": "yes", "Service.StateDirectoryMode": "0700",
		"Service.CapabilityBoundingSet": "", "Service.UMask": "0077", "Service.Restart": "always", "Service.MemoryDenyWriteExecute": "yes",
		"Install.WantedBy": "multi-user.target",
		// A database that comes up later than this must not find the service given up.
		"Unit.StartLimitIntervalSec": "0",
	} {
		if got := unit[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	var env []string
	for _, e := range unit["Service.Environment"] {
		env = append(env, strings.NewReplacer("%S", "/var/lib", "%d", "/run/credentials/handstamp.service").Replace(e))
	}
	if len(unit["Service.LoadCredential"]) != 1 || !strings.HasPrefix(unit["Service.LoadCredential"][0], "secret:/etc/") {
		t.Errorf("credentials %v", unit["Service.LoadCredential"])
	}
	exe := strings.Fields(unit["Service.ExecStart"][0])
	if len(exe) != 4 || exe[1] != "serve" || exe[2] != "--config" || filepath.Base(exe[3]) != "handstamp.toml" {
		t.Fatalf("ExecStart %v", exe)
	}
	cfg := accepted(t, "systemd", config.Sources{Environ: env, File: exe[3], ReadFile: func(name string) ([]byte, error) {
		if name == exe[3] {
			return []byte(read(t, "systemd/handstamp.toml")), nil
		}
		return secretFiles(name)
	}})
	if cfg.DataDir != "/var/lib/"+unit["Service.StateDirectory"][0] || len(cfg.Secret) != 1 {
		t.Errorf("data_dir %s", cfg.DataDir)
	}
}

// metricsOfServer are the names that a server prints, after it was used for something.
func metricsOfServer(t *testing.T) string {
	t.Helper()
	backend := memory.New()
	auth, err := handstamp.Open(t.Context(), backend, handstamp.Options{PublicURL: "http://localhost:8080"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = auth.Close() }()
	s, err := server.New(server.Options{
		Auth: auth, Accounts: account.New(auth, backend), PublicURL: "http://localhost:8080", Logger: slog.New(slog.DiscardHandler),
		Health: func() revoke.View {
			h := auth.Health()
			return revoke.View{Log: h.Log, Applied: h.Applied, Low: h.Low, LeaseLeft: h.LeaseLeft}
		},
		HashQueue: func() server.HashQueue { return server.HashQueue{} }, Throttle: func() login.Throttle { return login.Throttle{} },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/v1/check", "/healthz"} {
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "http://localhost:8080"+path, nil))
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		w := httptest.NewRecorder()
		s.Ops().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusOK {
			t.Errorf("%s = %d", path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	s.Ops().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// queries are all of the rules and the dashboard, by where they stand.
func queries(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, g := range at(t, load(t, "prometheus/handstamp.rules.yaml")[0], "groups").([]any) {
		for _, r := range at(t, g, "rules").([]any) {
			m := r.(map[string]any)
			name, _ := m["alert"].(string)
			if name == "" {
				name = m["record"].(string)
			}
			if all[name] != "" {
				t.Errorf("two rules are called %s", name)
			}
			all[name] = m["expr"].(string)
			if m["record"] != nil {
				continue
			}
			severity := at(t, r, "labels.severity")
			if severity != "critical" && severity != "warning" && severity != "info" || at(t, r, "annotations.summary") == nil || at(t, r, "annotations.action") == nil {
				t.Errorf("%s says too little", name)
			}
		}
	}
	maps.Copy(all, panelQueries(t))
	return all
}

// panelQueries are those of the dashboard.
func panelQueries(t *testing.T) map[string]string {
	t.Helper()
	type panel struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr, RefID string }
	}
	var board struct {
		Title, UID string
		Panels     []panel
	}
	if err := json.Unmarshal([]byte(read(t, "grafana/handstamp.json")), &board); err != nil {
		t.Fatal(err)
	}
	all, ids := map[string]string{}, map[int]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] || p.Title == "" || p.GridPos.X+p.GridPos.W > 24 || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("the panel %d (%s) does not fit", p.ID, p.Title)
		}
		ids[p.ID] = true
		for i, q := range p.Targets {
			expr := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*").Replace(q.Expr)
			all[fmt.Sprintf("dashboard: %s, %d", p.Title, i+1)] = expr
		}
	}
	return all
}

// TestQueries: what rules and dashboard ask for is there. A name that is written wrongly never fires, and nobody notices.
func TestQueries(t *testing.T) {
	printed := metricsOfServer(t)
	names := map[string]bool{"up": true}
	for line := range strings.Lines(printed) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "# TYPE "), " "); ok && strings.HasPrefix(line, "# TYPE ") {
			names[name] = true
			if strings.HasSuffix(strings.TrimSpace(line), " histogram") {
				for _, end := range []string{"_bucket", "_count", "_sum"} {
					names[name+end] = true
				}
			}
		}
	}
	all := queries(t)
	for name := range all {
		names[name] = true // a recorded one
	}
	code := sourceOf(t)
	for where, expr := range all {
		found := regexp.MustCompile(`\b(handstamp[a-z0-9_:]+|go_[a-z_]+|up)\b`).FindAllString(stripLabels(expr), -1)
		if len(found) == 0 {
			t.Errorf("%s asks for nothing", where)
		}
		for _, name := range found {
			if !names[name] {
				t.Errorf("%s: no server has the metric %s", where, name)
			}
		}
		for _, m := range regexp.MustCompile(`(code|route)=~?"([^"]+)"`).FindAllStringSubmatch(expr, -1) {
			for _, value := range strings.Split(m[2], "|") {
				if !strings.Contains(code, `"`+value+`"`) {
					t.Errorf("%s: the code has no %s %q", where, m[1], value)
				}
			}
		}
	}
	promtool(t, all)
}

// stripLabels takes texts in quotes out of a query.
func stripLabels(expr string) string {
	return regexp.MustCompile(`"[^"]*"`).ReplaceAllString(expr, `""`)
}

// sourceOf is the text of the packages whose codes and routes the labels are.
func sourceOf(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, pattern := range []string{"../*.go", "../server/*.go"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, p := range paths {
			if !strings.HasSuffix(p, "_test.go") {
				b.WriteString(read(t, p))
			}
		}
	}
	return b.String()
}

// promtool has every query read by Prometheus itself, where its tool is.
func promtool(t *testing.T, all map[string]string) {
	t.Helper()
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not here: the queries were not read by Prometheus")
		return
	}
	var b bytes.Buffer
	b.WriteString("groups:\n- name: all\n  rules:\n")
	for _, where := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&b, "  # %s\n  - {record: \"x:y\", labels: {n: \"%d\"}, expr: %q}\n", where, b.Len(), all[where])
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s\n%s", err, out, b.String())
	}
}

// TestAlertsAreExplained: the page for operators names every alert.
func TestAlertsAreExplained(t *testing.T) {
	page := read(t, "../docs/operations.md")
	for _, g := range at(t, load(t, "prometheus/handstamp.rules.yaml")[0], "groups").([]any) {
		for _, r := range at(t, g, "rules").([]any) {
			if name, ok := r.(map[string]any)["alert"].(string); ok && !strings.Contains(page, "`"+name+"`") {
				t.Errorf("docs/operations.md does not explain %s", name)
			}
		}
	}
}
