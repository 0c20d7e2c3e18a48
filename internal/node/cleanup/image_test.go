package cleanup

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/google/go-cmp/cmp"
)

func TestFinishedImageEndsItsStack(t *testing.T) {
	for status, want := range map[string][]string{
		"AVAILABLE": {"tag ami-1 in us-east-1: parallelcluster:build_status=available parallelcluster:parent_image=ami-0", "delete arn"},
		"FAILED":    nil,
		"CANCELLED": nil,
	} {
		t.Run(status, func(t *testing.T) {
			var did []string
			h := &imageHandler{stack: "arn",
				tag: func(_ context.Context, region string, in *ec2.CreateTagsInput) error {
					s := "tag " + in.Resources[0] + " in " + region + ":"
					for _, tag := range in.Tags {
						s += " " + *tag.Key + "=" + *tag.Value
					}
					did = append(did, s)
					return nil
				},
				delete: func(_ context.Context, in *cloudformation.DeleteStackInput) error {
					did = append(did, "delete "+*in.StackName)
					return nil
				},
			}
			message := `{"state": {"status": "` + status + `"}, "imageRecipe": {"parentImage": "ami-0"}, "outputResources": {"amis": [{"region": "us-east-1", "image": "ami-1"}]}}`
			event, err := json.Marshal(map[string]any{"Records": []any{map[string]any{"Sns": map[string]any{"Message": message}}}})
			if err != nil {
				t.Fatal(err)
			}
			if err := h.handle(t.Context(), event); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, did); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
