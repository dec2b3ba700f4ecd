// Package readme tests the documentation against the programs: the commands of README.md run as printed, the
// configuration's description names every key, and links lead somewhere. It consists of tests only; with -update they
// also take the screenshot of the consent page again.
package readme
