package cluster

import (
	"strings"
	"testing"
)

func TestStatusOfStacks(t *testing.T) {
	for stackStatus, want := range map[string]Status{
		"CREATE_IN_PROGRESS":                           CreateInProgress,
		"CREATE_FAILED":                                CreateFailed,
		"ROLLBACK_IN_PROGRESS":                         CreateFailed,
		"ROLLBACK_FAILED":                              CreateFailed,
		"ROLLBACK_COMPLETE":                            CreateFailed,
		"UPDATE_COMPLETE_CLEANUP_IN_PROGRESS":          UpdateInProgress,
		"UPDATE_ROLLBACK_IN_PROGRESS":                  UpdateInProgress,
		"UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS": UpdateInProgress,
		"UPDATE_ROLLBACK_FAILED":                       UpdateFailed,
		"UPDATE_ROLLBACK_COMPLETE":                     UpdateFailed,
		"DELETE_FAILED":                                DeleteFailed,
		"REVIEW_IN_PROGRESS":                           "REVIEW_IN_PROGRESS",
		"IMPORT_COMPLETE":                              "IMPORT_COMPLETE",
	} {
		if got := StatusOf(stackStatus); got != want {
			t.Errorf("StatusOf(%s) = %s, want %s", stackStatus, got, want)
		}
	}
}

func TestOnlyClustersOfThisMajorVersionAndNotNewerAreCompatible(t *testing.T) {
	for v, want := range map[string]bool{
		"3.0.0a0": true, "3.0.0": true, "3.12.0": true, "3.16.0b1": true, "3.16.100": true,
		"3.16.101": false, "3.17.0": false, "4.0.0": false, "2.11.9": false, "": false, "three": false,
	} {
		if got := compatible(v); got != want {
			t.Errorf("compatible(%q) = %t", v, got)
		}
	}
}

func TestArtifactDirectoryFitsAndIsLowerCase(t *testing.T) {
	dir := artifactDirectory(strings.Repeat("Cluster", 10), "0123456789abcdef")
	name := dir[strings.LastIndexByte(dir, '/')+1:]
	if len(name) != 63 || name != strings.ToLower(name) || !strings.HasSuffix(name, "-0123456789abcdef") {
		t.Errorf("%s (%d)", name, len(name))
	}
}

func TestBucketIsNamedAfterAccountAndRegion(t *testing.T) {
	// printf 111122223333us-east-1 | sha256sum | cut -c1-16
	if got, want := bucketName("111122223333", "us-east-1"), "parallelcluster-5b831fb59db489f1-v1-do-not-delete"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRandomNamesAreOfLettersAndDigits(t *testing.T) {
	a, b := randomName(16), randomName(16)
	if len(a) != 16 || a == b || strings.Trim(a, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		t.Errorf("%q, %q", a, b)
	}
}
