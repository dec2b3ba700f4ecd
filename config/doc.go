// Package config reads the configuration from a YAML file, variables and flags into the structs of the packages that use
// it, and reports all faults at once, with key and line. It knows neither the database nor requests.
package config
