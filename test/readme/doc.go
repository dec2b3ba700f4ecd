// Package readme holds what is written for people to what the programs do: the commands of README.md run as they are
// printed, the configuration's description names every key, links lead somewhere. Its tests are all there is to it;
// with
// -update they take the picture of the consent page again.
package readme
