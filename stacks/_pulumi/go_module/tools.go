//go:build tools

// Package tools pins the Pulumi command line as a module of ours, so that tests can build it offline from a Go proxy.
package tools

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
