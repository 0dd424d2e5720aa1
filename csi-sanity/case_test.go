package sanity

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	suite "github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
)

const mebibyte = 1 << 20

// settings are the flags of a run against a driver.
type settings struct {
	endpoint   string
	controller string
	name       string
	pool       string
	mountDir   string
	stagingDir string
	size       int64
	expandSize int64
	perCall    time.Duration
	perSuite   time.Duration
	witness    bool
}

var given settings

func init() {
	flag.StringVar(&given.endpoint, "csi.endpoint", "", "socket of the driver, unix:///path/csi.sock; without it the suite does not run")
	flag.StringVar(&given.controller, "csi.controller", "", "socket of the driver's Controller, where that is another than -csi.endpoint")
	flag.StringVar(&given.name, "csi.case", "ext4-thick", "what to make: ext4, xfs, btrfs or block, a hyphen, thick, thin or whole; or tmpfs-memory or xfs-directory")
	flag.StringVar(&given.pool, "csi.pool", "", "value of the parameter `pool`; empty leaves the parameter out")
	flag.StringVar(&given.mountDir, "csi.mountdir", "/tmp/csi-mount", "parent of the target path; made and removed by the suite, must not exist")
	flag.StringVar(&given.stagingDir, "csi.stagingdir", "/tmp/csi-staging", "staging path; made and removed by the suite, must not exist")
	flag.Int64Var(&given.size, "csi.size", 512*mebibyte, "bytes of a volume, a multiple of the extent size")
	flag.Int64Var(&given.expandSize, "csi.expandsize", 768*mebibyte, "bytes of a volume after expansion, a multiple of the extent size; for a volume that does not grow as many as before")
	flag.DurationVar(&given.perCall, "csi.calltimeout", 2*time.Minute, "longest that one call may take")
	flag.DurationVar(&given.perSuite, "csi.suitetimeout", 20*time.Minute, "longest that the suite may take")
	flag.BoolVar(&given.witness, "csi.witness", true, "look into this machine's mounts to see that a published volume is what the case says")
}

// sanityCase is one cell of {ext4, xfs, btrfs, block} x {thick, thin, whole}, or a pool whose volumes are none of these.
type sanityCase struct {
	fsType       string // empty for a raw block volume
	provisioning string // thick or thin, or whole for a whole device; empty where there is no such choice
}

// ofFolders are the cases of pools whose volumes are directories: their classes say neither file system nor
// provisioning.
var ofFolders = map[string]sanityCase{
	"tmpfs-memory":  {fsType: "tmpfs"},
	"xfs-directory": {fsType: "xfs"},
}

func (c sanityCase) isOfFolders() bool {
	return c.provisioning == ""
}

func (c sanityCase) isWholeDevice() bool {
	return c.provisioning == "whole"
}

func parseCase(name string) (sanityCase, error) {
	if c, ok := ofFolders[name]; ok {
		return c, nil
	}
	kind, provisioning, _ := strings.Cut(name, "-")
	switch kind {
	case "ext4", "xfs", "btrfs", "block":
	default:
		return sanityCase{}, fmt.Errorf("csi.case %q: want ext4, xfs, btrfs or block before the hyphen, or tmpfs-memory or xfs-directory", name)
	}
	switch provisioning {
	case "thick", "thin", "whole":
	default:
		return sanityCase{}, fmt.Errorf("csi.case %q: want thick, thin or whole after the hyphen", name)
	}
	if kind == "block" {
		kind = ""
	}
	return sanityCase{fsType: kind, provisioning: provisioning}, nil
}

// config says to the suite what the case and the flags say to us.
func (s settings) config(c sanityCase) (suite.TestConfig, error) {
	switch {
	case s.size <= 0:
		return suite.TestConfig{}, errors.New("csi.size must be larger than zero")
	case c.isWholeDevice() && s.expandSize != s.size:
		return suite.TestConfig{}, errors.New("csi.expandsize must be csi.size: a whole device does not grow")
	case !c.isWholeDevice() && s.expandSize <= s.size:
		return suite.TestConfig{}, errors.New("csi.expandsize must be larger than csi.size")
	}
	config := suite.NewTestConfig()
	config.Address = s.endpoint
	config.ControllerAddress = s.controller
	config.TargetPath = s.mountDir
	config.StagingPath = s.stagingDir
	config.TestVolumeSize = s.size
	config.TestVolumeExpandSize = s.expandSize
	config.TestVolumeParameters = map[string]string{}
	if !c.isOfFolders() && !c.isWholeDevice() {
		config.TestVolumeParameters["provisioning"] = c.provisioning
	}
	if s.pool != "" {
		config.TestVolumeParameters["pool"] = s.pool
	}
	config.TestVolumeAccessType = "block"
	if c.fsType != "" {
		config.TestVolumeAccessType = "mount"
	}
	if c.fsType != "" && !c.isOfFolders() {
		config.TestVolumeParameters["csi.storage.k8s.io/fstype"] = c.fsType
	}
	return config, nil
}
