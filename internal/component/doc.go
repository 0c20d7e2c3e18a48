// Package component knows the documents that customise and test an image, in the
// language of AWS's Task Orchestrator and Executor (schema version 1.0).
//
// [Parse] reads a document with the place of everything that is wrong in it.
// [Run.Do] carries documents out: it decides what happens in which order, expands
// expressions, and keeps the books, but it touches nothing itself. An [Actor]
// does; that of package act works on the machine it runs on. After every step the
// books are saved, so that a document goes on after a reboot, or after its
// executor was killed.
//
// On AWS, Image Builder runs the same documents with AWS's own executor. What
// that one does is the measure, as AWS's documentation tells it.
package component
