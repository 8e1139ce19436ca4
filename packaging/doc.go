// SPDX-License-Identifier: Apache-2.0

// Package packaging holds the files that belong beside an installed kmend and
// that a distribution's package puts into place.
package packaging

import _ "embed"

// Unit is kmend.service: it loads at boot what kmend install has installed.
//
//go:embed kmend.service
var Unit string
