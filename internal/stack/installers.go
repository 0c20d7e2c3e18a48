package stack

// Software that images get from its makers, since operating systems don't have it, or
// not in a version that clusters can use. What is fetched is compared with a checksum,
// or comes from a repository whose packages are signed with a key of this fingerprint.
//
// Versions, addresses and checksums are those of AWS's public bucket of what
// ParallelCluster 3.12 depends on. Newer versions come with their checksums, or not at
// all. Fingerprints: NVIDIA CUDA Installation Guide for Linux. The key of FSx's
// repositories has no published fingerprint: it is trusted as it comes over HTTPS.
// (FSx for Lustre User Guide: Installing the Lustre client.)
var installers = map[string]string{
	"SLURM": "23-11-10-1", "SLURM_SUM": "ca880fcd44a9e0303a36e05ede75913d16f254d88d4ef05595cd135a29aa3071",
	"PMIX": "5.0.3", "PMIX_SUM": "d9b0b81ba45f58f44573796eb05858061ed7f47ea6b29af8058090023e35dfa9",
	"MUNGE": "0.5.16", "MUNGE_SUM": "fa27205d6d29ce015b0d967df8f3421067d7058878e75d0d5ec3d91f4d32bb57",
	"EFA": "1.34.0", "EFA_SUM": "bd68839e741b0afd3ec2e37d50603803cfa7a279c120f0a736cc57c2ff2d7fdc",
	"EFS": "1.34.1", "EFS_SUM": "69d0d8effca3b58ccaf4b814960ec1d16263807e508b908975c2627988c7eb6c",
	"DCV": "2023.1-16388", "DCV_SUM": "2b996c4a422adaa7912a59cca06f38fcc59451b927be0dc0f49b362ecfcc23fb", // of Ubuntu 22.04 on x86
	"NVIDIA_DEB_KEY": "EB693B3035CD5710E231E123A4B469963BF863CC", "NVIDIA_RPM_KEY": "610C7B14E068A878070DA4E99CD0A493D42D0685",
}
