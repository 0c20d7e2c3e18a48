package config

// ToolVersion is the version of pcluster: it names artifacts, tags stacks, and
// decides which clusters this program may touch. The first two numbers are the
// ParallelCluster release whose language and interfaces we speak; the third is
// ours, and high enough never to meet one of theirs.
const ToolVersion = "3.16.100"
