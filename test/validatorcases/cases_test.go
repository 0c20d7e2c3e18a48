package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// corpora are the cases of ParallelCluster's own behaviour, and ours, which have at
// least one for every row of its table of validators.
var corpora = []string{"testdata/validator-cases.json", "testdata/rows.json"}

func TestCases(t *testing.T) {
	for _, name := range corpora {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, err := load(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range f.judge(64) {
				if v.skip == "" && v.want != v.got {
					t.Errorf("%s (%s): %s\n  expected: %s\n  actual:   %s", v.id, v.validator, v.about, v.want, v.got)
				}
			}
		})
	}
}

// validators are those of ParallelCluster with the levels of their findings. Those
// that can't find anything are in a test of package validate.
var validators = map[string]string{
	"RegionValidator":        "ERROR",
	"ClusterNameValidator":   "ERROR",
	"NameValidator":          "ERROR",
	"DuplicateNameValidator": "ERROR",
	"MaxCountValidator":      "ERROR",
	"SchedulerOsValidator":   "ERROR",
	"SchedulerDisableSudoAccessForDefaultUserValidator":   "ERROR",
	"HeadNodeImdsValidator":                               "ERROR",
	"IntelHpcOsValidator":                                 "ERROR",
	"IntelHpcArchitectureValidator":                       "ERROR",
	"OsCustomAmiValidator":                                "ERROR",
	"CustomAmiTagValidator":                               "WARNING ERROR",
	"AmiOsCompatibleValidator":                            "ERROR WARNING",
	"InstanceTypeBaseAMICompatibleValidator":              "ERROR",
	"InstanceTypeOSCompatibleValidator":                   "WARNING",
	"RootVolumeSizeValidator":                             "ERROR",
	"InstanceTypeValidator":                               "ERROR",
	"InstanceArchitectureCompatibilityValidator":          "ERROR",
	"InstanceTypeMemoryInfoValidator":                     "ERROR",
	"InstanceTypeAcceleratorManufacturerValidator":        "WARNING",
	"InstanceTypePlacementGroupValidator":                 "ERROR",
	"SchedulableMemoryValidator":                          "ERROR WARNING INFO",
	"InstanceTypeSoftwareValidator":                       "ERROR",
	"InstancesCPUValidator":                               "ERROR",
	"InstancesAcceleratorsValidator":                      "ERROR",
	"InstancesNetworkingValidator":                        "WARNING",
	"InstancesAllocationStrategyValidator":                "ERROR",
	"InstancesMemorySchedulingWarningValidator":           "WARNING",
	"KeyPairValidator":                                    "WARNING ERROR",
	"CapacityTypeValidator":                               "ERROR WARNING",
	"ComputeResourceSizeValidator":                        "ERROR",
	"HeadNodeLaunchTemplateValidator":                     "ERROR WARNING",
	"ComputeResourceLaunchTemplateValidator":              "ERROR WARNING",
	"SecurityGroupsValidator":                             "ERROR",
	"SubnetsValidator":                                    "ERROR",
	"QueueSubnetsValidator":                               "ERROR",
	"SingleInstanceTypeSubnetValidator":                   "ERROR",
	"MultiAzPlacementGroupValidator":                      "ERROR",
	"ElasticIpValidator":                                  "ERROR",
	"MixedSecurityGroupOverwriteValidator":                "WARNING",
	"MultiNetworkInterfacesInstancesValidator":            "ERROR",
	"HostedZoneValidator":                                 "ERROR",
	"LambdaFunctionsVpcConfigValidator":                   "ERROR",
	"EfaValidator":                                        "ERROR WARNING",
	"InstancesEFAValidator":                               "ERROR WARNING",
	"EfaMultiAzValidator":                                 "ERROR",
	"EfaSecurityGroupValidator":                           "ERROR WARNING",
	"EfaPlacementGroupValidator":                          "WARNING ERROR",
	"PlacementGroupNamingValidator":                       "ERROR",
	"PlacementGroupCapacityTypeValidator":                 "WARNING",
	"CapacityReservationValidator":                        "ERROR",
	"CapacityReservationSizeValidator":                    "ERROR",
	"CapacityReservationResourceGroupValidator":           "ERROR WARNING",
	"PlacementGroupCapacityReservationValidator":          "ERROR WARNING",
	"EbsVolumeTypeSizeValidator":                          "ERROR",
	"EbsVolumeIopsValidator":                              "ERROR",
	"EbsVolumeThroughputValidator":                        "ERROR",
	"EbsVolumeThroughputIopsValidator":                    "ERROR",
	"EbsVolumeSizeSnapshotValidator":                      "ERROR WARNING",
	"SharedEbsVolumeIdValidator":                          "ERROR",
	"MultiAzEbsVolumeValidator":                           "ERROR INFO",
	"MultiAzRootVolumeValidator":                          "INFO",
	"RootVolumeEncryptionConsistencyValidator":            "WARNING",
	"SharedStorageNameValidator":                          "ERROR",
	"SharedStorageMountDirValidator":                      "ERROR",
	"SharedFileCacheNotHomeValidator":                     "ERROR",
	"DuplicateMountDirValidator":                          "ERROR WARNING",
	"OverlappingMountDirValidator":                        "ERROR",
	"NumberOfStorageValidator":                            "ERROR",
	"DeletionPolicyValidator":                             "INFO",
	"EfsIdValidator":                                      "ERROR",
	"EfsMountOptionsValidator":                            "ERROR",
	"EfsAccessPointOptionsValidator":                      "ERROR",
	"FsxS3Validator":                                      "ERROR",
	"FsxDraValidator":                                     "ERROR",
	"FsxPersistentOptionsValidator":                       "ERROR",
	"FsxBackupOptionsValidator":                           "ERROR",
	"FsxStorageTypeOptionsValidator":                      "ERROR",
	"FsxStorageCapacityValidator":                         "ERROR",
	"FsxBackupIdValidator":                                "ERROR",
	"FsxAutoImportValidator":                              "ERROR",
	"ExistingFsxNetworkingValidator":                      "ERROR",
	"ManagedFsxMultiAzValidator":                          "ERROR",
	"UnmanagedFsxMultiAzValidator":                        "INFO",
	"S3BucketValidator":                                   "ERROR",
	"S3BucketRegionValidator":                             "ERROR",
	"S3BucketUriValidator":                                "ERROR",
	"UrlValidator":                                        "ERROR WARNING",
	"AsyncTimedUrlValidator":                              "ERROR WARNING",
	"RoleValidator":                                       "ERROR",
	"InstanceProfileValidator":                            "ERROR",
	"AdditionalIamPolicyValidator":                        "ERROR",
	"IamPolicyValidator":                                  "ERROR",
	"IamResourcePrefixValidator":                          "ERROR",
	"ArnServiceAndResourceValidator":                      "ERROR",
	"HeadNodeMemorySizeValidator":                         "ERROR",
	"MungeKeySecretSizeAndBase64Validator":                "ERROR WARNING",
	"PasswordSecretArnValidator":                          "ERROR WARNING",
	"DomainNameValidator":                                 "ERROR",
	"DomainAddrValidator":                                 "WARNING",
	"LdapTlsReqCertValidator":                             "WARNING",
	"AdditionalSssdConfigsValidator":                      "ERROR",
	"DatabaseUriValidator":                                "ERROR INFO",
	"CustomSlurmSettingsValidator":                        "ERROR",
	"CustomSlurmNodeNamesValidator":                       "ERROR",
	"CustomSlurmSettingsIncludeFileOnlyValidator":         "ERROR",
	"SlurmNodePrioritiesWarningValidator":                 "WARNING",
	"ExternalSlurmdbdVsDatabaseIncompatibility":           "ERROR",
	"ExternalSlurmdbdRequiresCustomMungeKey":              "ERROR",
	"ExternalSlurmdbdTrafficNotEncrypted":                 "WARNING",
	"ComputeResourceTagsValidator":                        "WARNING ERROR",
	"LogRotationValidator":                                "WARNING",
	"DetailedMonitoringValidator":                         "WARNING",
	"DcvValidator":                                        "ERROR WARNING",
	"AwsBatchComputeResourceSizeValidator":                "ERROR",
	"AwsBatchComputeInstanceTypeValidator":                "ERROR WARNING",
	"AwsBatchInstancesArchitectureCompatibilityValidator": "INFO ERROR",
	"AwsBatchFsxValidator":                                "ERROR",
	"ComponentsValidator":                                 "ERROR",
	"SecurityGroupsAndSubnetValidator":                    "ERROR",
	"AMIVolumeSizeValidator":                              "ERROR",
	"FeatureRegionValidator":                              "ERROR",
	"KmsKeyValidator":                                     "ERROR",
	"KmsKeyIdEncryptedValidator":                          "ERROR",
	"ExtraChefAttributesValidator":                        "ERROR WARNING",
	"ConfigSchemaValidator":                               "ERROR",
	"ImageSchemaValidator":                                "ERROR",
}

// Some case shows each validator at each of its levels.
func TestCasesCoverEveryValidator(t *testing.T) {
	shown := map[string]bool{}
	for _, name := range corpora {
		f, err := load(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range f.Cases {
			if c.Expect == nil || c.Until != "" && compare(release, c.Until) > 0 {
				continue
			}
			shown[c.Validator+" "+c.Expect.Level] = true
			if !strings.Contains(validators[c.Validator], c.Expect.Level) && !strings.HasPrefix(c.Validator, "(") {
				t.Errorf("%s: %s has no level %s", c.ID, c.Validator, c.Expect.Level)
			}
		}
	}
	for name, levels := range validators {
		for level := range strings.FieldsSeq(levels) {
			if !shown[name+" "+level] {
				t.Errorf("no case of %s %s", name, level)
			}
		}
	}
}

func TestMerge(t *testing.T) {
	f := &file{Bases: map[string]json.RawMessage{"b": json.RawMessage(`{"a": {"x": 1, "y": 2}, "l": [{"k": 1}, {"k": 2}], "s": [1, 2]}`)}}
	for snippet, want := range map[string]string{
		"{}":                       `{"a": {"x": 1, "y": 2}, "l": [{"k": 1}, {"k": 2}], "s": [1, 2]}`,
		"a: {x: null, z: yes}":     `{"a": {"y": 2, "z": yes}, "l": [{"k": 1}, {"k": 2}], "s": [1, 2]}`,
		"l: [{}, {k: 3}, {k: 4}]":  `{"a": {"x": 1, "y": 2}, "l": [{"k": 1}, {"k": 3}, {"k": 4}], "s": [1, 2]}`,
		"l: []":                    `{"a": {"x": 1, "y": 2}, "l": [], "s": [1, 2]}`,
		"s: [3]":                   `{"a": {"x": 1, "y": 2}, "l": [{"k": 1}, {"k": 2}], "s": [3]}`,
		"{a: text, n: {m: 'yes'}}": `{"a": "text", "l": [{"k": 1}, {"k": 2}], "s": [1, 2], "n": {"m": "yes"}}`,
		"t: 12:30":                 `{"a": {"x": 1, "y": 2}, "l": [{"k": 1}, {"k": 2}], "s": [1, 2], "t": 12:30}`,
	} {
		got, err := f.document(&testCase{Base: "b", Snippet: snippet})
		if err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: %s, %v, want %s", snippet, got, err, want)
		}
	}
}
