//go:build browser

package server_test

import _ "github.com/chromedp/chromedp"
