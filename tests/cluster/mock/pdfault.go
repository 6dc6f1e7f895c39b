package main

import (
	"context"
	"reflect"
	"strings"

	"github.com/pingcap/kvproto/pkg/pdpb"
	"google.golang.org/grpc"
)

// inject is the interceptor of a PD front: rules that name PD's unary requests act here.
func (f *pdFront) inject(ctx context.Context, req interface{}, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (interface{}, error) {
	name := info.FullMethod[strings.LastIndexByte(info.FullMethod, '/')+1:]
	rule := f.shared.faults.take(name, 0)
	if err := rule.before(ctx); err != nil {
		return nil, err
	}
	if rule != nil && rule.Action == "pd_error" {
		return f.refusal(name, rule), nil
	}
	resp, err := guard(ctx, req, info, next)
	if lost := rule.after(ctx); lost != nil {
		return nil, lost
	}
	return resp, err
}

// refusal is an answer of the request's type with an error in its header.
func (f *pdFront) refusal(name string, rule *fault) interface{} {
	header := f.header()
	header.Error = &pdpb.Error{Type: pdpb.ErrorType(pdpb.ErrorType_value[rule.Error]), Message: "injected " + rule.Error}
	resp := reflect.New(reflect.ValueOf(f).MethodByName(name).Type().Out(0).Elem())
	resp.Elem().FieldByName("Header").Set(reflect.ValueOf(header))
	return resp.Interface()
}
