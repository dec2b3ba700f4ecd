// Package config reads the configuration from a YAML file, environment variables and flags into the structs of the
// packages that use it. It reports all faults at once, with key and line.
package config
