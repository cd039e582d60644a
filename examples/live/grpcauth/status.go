package grpcauth

import (
	"errors"
	"strings"

	"github.com/handstamp/handstamp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

// domain of the reasons in google.rpc.ErrorInfo.
const domain = "handstamp"

// StatusOf turns an error of Handstamp's into the status for it: Unauthenticated or PermissionDenied with the reason as
// google.rpc.ErrorInfo, or Unavailable with google.rpc.RetryInfo. The cause of what could not be found out stays here. Give it
// what Alive answers before an action of a long stream. Nil stays nil.
func StatusOf(err error) error {
	if err == nil {
		return nil
	}
	p := handstamp.ProblemOf(err)
	code := codes.Unavailable
	switch {
	case errors.Is(err, handstamp.ErrUnauthenticated):
		code = codes.Unauthenticated
	case errors.Is(err, handstamp.ErrForbidden):
		code = codes.PermissionDenied
	}
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: strings.ToUpper(p.Code), Domain: domain}}
	if code == codes.Unavailable && p.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(p.RetryAfter)})
	}
	s, detailErr := status.New(code, p.Detail).WithDetails(details...)
	if detailErr != nil {
		return status.Error(code, p.Detail)
	}
	return s.Err()
}
