package sanity

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	suite "github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/klog/v2"
)

// TestSanity runs the official conformance suite against the driver at -csi.endpoint.
func TestSanity(t *testing.T) {
	if given.endpoint == "" {
		const reason = "no -csi.endpoint: the conformance suite needs the socket of a driver"
		fmt.Println("skipped:", reason)
		t.Skip(reason)
	}
	wanted, err := parseCase(given.name)
	if err != nil {
		t.Fatal(err)
	}
	config, err := given.config(wanted)
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := allowances(skipsYAML)
	if err != nil {
		t.Fatal(err)
	}
	requireDriver(t, given.endpoint)

	seen := &witness{wanted: wanted}
	interceptors := []grpc.UnaryClientInterceptor{deadline(given.perCall)}
	if given.witness {
		interceptors = append(interceptors, seen.intercept)
	}
	config.DialOptions = append(config.DialOptions, grpc.WithChainUnaryInterceptor(interceptors...))

	report := run(t, config)
	result := tallyOf(report)
	complain(t, report, result, allowedIn(given.name, allowed))
	if given.witness && !filtered(report) {
		for _, finding := range seen.verdict() {
			t.Errorf("witness: %s", finding)
		}
	}
	fmt.Printf("case %s: %d passed, %d failed, %d skipped\n", given.name, result.passed, result.failed, len(result.skipped))
}

// requireDriver stops the test at once when nobody answers. The suite would try for a minute before
// each of its specs.
func requireDriver(t *testing.T, endpoint string) {
	t.Helper()
	const patience = 15 * time.Second
	address, err := url.Parse(endpoint)
	if err != nil || address.Scheme != "unix" || address.Path == "" {
		t.Fatalf("-csi.endpoint %q: want unix:///path/csi.sock", endpoint)
	}
	conn, err := grpc.NewClient("unix:"+address.Path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"))
	if err != nil {
		t.Fatalf("-csi.endpoint %q: %v", endpoint, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	answer, err := csi.NewIdentityClient(conn).GetPluginInfo(ctx, &csi.GetPluginInfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatalf("no driver answers at %s within %s: %v", endpoint, patience, err)
	}
	fmt.Printf("driver %s %s, case %s\n", answer.GetName(), answer.GetVendorVersion(), given.name)
}

// run executes the suite and returns its report.
func run(t *testing.T, config suite.TestConfig) types.Report {
	klog.SetOutput(ginkgo.GinkgoWriter)
	gomega.RegisterFailHandler(ginkgo.Fail)
	connections := suite.GinkgoTest(&config)
	defer connections.Finalize()

	var report types.Report
	ginkgo.ReportAfterSuite("tally", func(r types.Report) { report = r })
	how, output := ginkgo.GinkgoConfiguration()
	how.Timeout = given.perSuite
	ginkgo.RunSpecs(t, "CSI conformance "+given.name, how, output)
	return report
}

// complain fails the test for each skip that skips.yaml does not excuse, and prints excuses that
// nobody needed.
func complain(t *testing.T, report types.Report, result tally, allowed []allowance) {
	t.Helper()
	if filtered(report) {
		fmt.Println("only some specs were chosen: skips are not compared with skips.yaml")
		return
	}
	if result.passed+result.failed+len(result.skipped) == 0 {
		t.Error("the suite ran no spec at all")
	}
	unlisted, unused := judge(result.skipped, allowed)
	for _, spec := range unlisted {
		t.Errorf("skipped, but not listed in skips.yaml: %s (%s)", spec.name, spec.says)
	}
	for _, a := range unused {
		fmt.Printf("listed in skips.yaml, but never skipped: %s (%s)\n", a.Specs, a.Says)
	}
}

// filtered tells whether the caller chose specs by a flag of ginkgo.
func filtered(report types.Report) bool {
	how := report.SuiteConfig
	return len(how.FocusStrings)+len(how.SkipStrings)+len(how.FocusFiles)+len(how.SkipFiles) > 0 || how.LabelFilter != ""
}

func TestParseCase(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs", "btrfs", "block"} {
		for _, provisioning := range []string{"thick", "thin", "whole"} {
			if _, err := parseCase(kind + "-" + provisioning); err != nil {
				t.Error(err)
			}
		}
	}
	for _, wrong := range []string{"", "ext4", "ntfs-thin", "ext4-fat", "ext4-thin-thick"} {
		if _, err := parseCase(wrong); err == nil {
			t.Errorf("%q was accepted", wrong)
		}
	}
}

func TestOnlyWholeDevicesNeedNotGrow(t *testing.T) {
	for _, one := range []struct {
		name             string
		size, expandSize int64
		good             bool
	}{
		{"ext4-thin", 1, 2, true},
		{"ext4-thin", 1, 1, false},
		{"ext4-whole", 1, 1, true},
		{"ext4-whole", 1, 2, false},
		{"block-whole", 0, 0, false},
	} {
		c, err := parseCase(one.name)
		if err != nil {
			t.Fatal(err)
		}
		config, err := settings{size: one.size, expandSize: one.expandSize}.config(c)
		if (err == nil) != one.good {
			t.Errorf("%+v: %v", one, err)
		}
		if _, found := config.TestVolumeParameters["provisioning"]; found && c.isWholeDevice() {
			t.Errorf("%s: a whole device is neither thick nor thin", one.name)
		}
	}
}

func TestTopMountIsTheLastOne(t *testing.T) {
	const table = "36 35 98:0 / /t rw shared:1 - ext4 /dev/a rw\n" +
		"37 36 98:1 / /t rw - xfs /dev/b rw\n" +
		"38 36 98:2 / /t/u rw - btrfs /dev/c rw\n"
	if fsType, ok := topMount(table, "/t"); !ok || fsType != "xfs" {
		t.Errorf("got %q, %t", fsType, ok)
	}
	if _, ok := topMount(table, "/"); ok {
		t.Error("found a mount where there is none")
	}
}

func TestUnreadableTargetIsAFinding(t *testing.T) {
	w := &witness{wanted: sanityCase{fsType: "ext4", provisioning: "thick"}}
	if len(w.verdict()) != 1 {
		t.Error("nothing published must be a finding")
	}
	w.look(t.TempDir())
	if len(w.verdict()) != 1 {
		t.Error("a directory that is no mount must be a finding")
	}
	w.look(os.DevNull + "/absent")
	if len(w.verdict()) != 2 {
		t.Error("a path that cannot be read must be a finding")
	}
}
