package cluster_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"pcluster/internal/cluster/clustertest"
)

func TestTemplateOfTheUserTakesThePlaceOfOurs(t *testing.T) {
	const own = `{"Resources":{"Topic":{"Type":"AWS::SNS::Topic"}}}`
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/own.json":
			_, _ = io.WriteString(w, own)
		case "/large.json":
			_, _ = w.Write(make([]byte, 2<<20))
		default:
			http.NotFound(w, r)
		}
	}))
	defer web.Close()
	for where, refused := range map[string]string{
		"s3://mine/templates/own.json": "",
		web.URL + "/own.json":          "",
		"s3://mine/missing.json":       "DevSettings/ClusterTemplate: s3://mine/missing.json: ",
		web.URL + "/missing.json":      "404 Not Found",
		web.URL + "/large.json":        "more than the 1048576 bytes that CloudFormation takes",
	} {
		t.Run(where, func(t *testing.T) {
			cloud := clustertest.New()
			cloud.Know()
			cloud.MakeBucket("mine")
			if _, err := cloud.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("mine"), Key: aws.String("templates/own.json"), Body: strings.NewReader(own)}); err != nil {
				t.Fatal(err)
			}
			o := cloud.Operator(quiet())
			o.HTTP = web.Client()
			r := request("demo")
			r.Configuration = append(r.Configuration, "\nDevSettings: {ClusterTemplate: '"+where+"'}\n"...)
			_, err := o.Create(t.Context(), r)
			if refused != "" {
				status(t, err, 400, refused)
				if left := ofClusters(cloud); len(left) > 0 {
					t.Errorf("left: %v", left)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, key := range ofClusters(cloud) {
				if strings.HasSuffix(key, "/templates/aws-parallelcluster.cfn.yaml") {
					if got := string(cloud.Body(key)); got != own {
						t.Errorf("the stack is made of\n%.300s\nwant\n%s", got, own)
					}
					return
				}
			}
			t.Error("no template is uploaded")
		})
	}
}
