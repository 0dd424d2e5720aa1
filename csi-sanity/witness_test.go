package sanity

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
)

// deadline bounds each call, for the suite itself sets no deadline and would wait for ever.
func deadline(longest time.Duration) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		ctx, cancel := context.WithTimeout(ctx, longest)
		defer cancel()
		return call(ctx, method, request, answer, conn, opts...)
	}
}

// witness looks at every target path right after it was published. The suite asks only for the right
// answer; without the witness a driver that always made ext4 would pass as xfs.
type witness struct {
	wanted sanityCase

	mu       sync.Mutex
	seen     int
	findings []string
}

func (w *witness) intercept(ctx context.Context, method string, request, answer any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := call(ctx, method, request, answer, conn, opts...)
	if publish, ok := request.(*csi.NodePublishVolumeRequest); ok && err == nil {
		w.look(publish.GetTargetPath())
	}
	return err
}

func (w *witness) look(target string) {
	found, err := publishedAs(target)
	if err == nil && found != w.wanted.publishedAs() {
		err = fmt.Errorf("%s is %s, the case wants %s", target, found, w.wanted.publishedAs())
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen++
	if err != nil {
		w.findings = append(w.findings, err.Error())
	}
}

// verdict lists what was wrong in all that was published. To have seen nothing is wrong too.
func (w *witness) verdict() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == 0 {
		return []string{"no volume was ever published"}
	}
	return w.findings
}

const blockDevice = "a block device"

func (c sanityCase) publishedAs() string {
	if c.fsType == "" {
		return blockDevice
	}
	return c.fsType
}

// publishedAs says what there is at a target path: a block device or a mount, by type of its file system.
func publishedAs(target string) (string, error) {
	info, err := os.Stat(target)
	if err != nil {
		return "", err
	}
	if info.Mode()&os.ModeDevice != 0 && info.Mode()&os.ModeCharDevice == 0 {
		return blockDevice, nil
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	plain, err := filepath.EvalSymlinks(target) // as the kernel lists it
	if err != nil {
		return "", err
	}
	fsType, ok := topMount(string(table), plain)
	if !ok {
		return "", fmt.Errorf("nothing is mounted at %s", target)
	}
	return fsType, nil
}

// topMount finds the type of the last file system mounted at a path, in the form of
// /proc/self/mountinfo (proc_pid_mountinfo(5)).
func topMount(table, target string) (fsType string, found bool) {
	for line := range strings.Lines(table) {
		place, source, ok := strings.Cut(line, " - ")
		fields, types := strings.Fields(place), strings.Fields(source)
		if ok && len(fields) > 4 && len(types) > 0 && fields[4] == target {
			fsType, found = types[0], true
		}
	}
	return fsType, found
}
