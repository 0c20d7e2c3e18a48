// Package sim is a world for fleets to live in: a model of EC2 and one of Slurm's
// power states, in virtual time.
//
// The models are not replays. [Cloud] has capacity that runs out, buckets of tokens
// as AWS documents them, answers that lag behind, and instances that die. [Slurm] has
// jobs that want nodes, and nodes that power up, time out, idle and power down.
// Both fail as they are told to by [Faults], from one seed.
//
// [Run] lets a fleet that is [fleet.Plan] and an executor of its actions live there
// for hours or days, and checks after every step what must hold always. One goroutine
// and one order of events let a failing seed replay exactly, which the daemon's
// goroutines would not; the executor is what the daemon is without them. The same models
// serve the real [fleet.Daemon], with its own cadence, through [API], [Scheduler] and
// [Tables], in tests under testing/synctest and in the benchmarks.
//
// Nothing of the product imports this package.
package sim
