//go:build !race

package rig

const underRaceDetector = false
