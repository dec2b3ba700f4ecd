//go:build race

package rig

const underRaceDetector = true
