// `cria devices`, `cria inspect` and `cria tokenize`.
#include "e2e/expect.h"
#include "tiny_model.h"

namespace cria::e2e {
namespace {

TEST(Devices, AreListedForPeopleAndPrograms) {
  const Outcome json = run({"devices", "--json"});
  expect_success(json);
  const Json devices = json_of(json);
  ASSERT_FALSE(devices.empty());
  const Outcome text = run({"devices"});
  expect_success(text);
  for (size_t i = 0; i < devices.size(); ++i) {
    const Json& device = devices[i];
    EXPECT_EQ(device.at("index"), i);
    expect_holds(text.out, fmt::format("{}: {} (", i, device.at("name").get<std::string>()));
    for (const char* key : {"type", "backend", "vendor", "driver"}) EXPECT_TRUE(device.at(key).is_string()) << key;
    for (const char* key : {"f16", "subgroups", "subgroup-matrix", "timestamps", "immediates"}) {
      EXPECT_TRUE(device.at("features").at(key).is_boolean()) << key;
    }
    for (const char* key : {"memory_bytes", "max_buffer_bytes", "max_binding_bytes", "max_storage_buffers",
                            "max_workgroup_memory_bytes", "max_workgroup_invocations"}) {
      EXPECT_GT(device.at(key), 0) << key;
    }
  }
}

TEST(Devices, NoDriverIsASentence) {
  // The loader is told to use a driver manifest that is none, and Cria to add nothing.
  const std::map<std::string, std::string> none = {{"CRIA_VULKAN_DRIVER", "system"}, {"VK_DRIVER_FILES", "/dev/null"}};
  const TinyModel tiny;
  expect_refused_silently(run(Launch{.arguments = {"devices"}, .environment = none}),
                          {"no GPU was found: install a Vulkan driver"});
  expect_refused_silently(run(Launch{.arguments = {"run", tiny.path().string(), "--prompt", "a"}, .environment = none}),
                          {"no GPU was found: install a Vulkan driver"});
  expect_refused_silently(
      run(Launch{.arguments = {"devices"}, .environment = {{"CRIA_VULKAN_DRIVER", "/no/such.json"}}}),
      {"CRIA_VULKAN_DRIVER=/no/such.json: there is no such file"});
  expect_refused_silently(run(Launch{.arguments = {"devices"}, .environment = {{"CRIA_VULKAN_DRIVER", "magic"}}}),
                          {"CRIA_VULKAN_DRIVER=magic: there is no such choice"});
}

TEST(Inspect, ShowsArchitectureTensorsAndMemory) {
  const Outcome text = run({"inspect", default_model_path().string(), "--tensors"});
  expect_success(text);
  for (const char* part : {"LlamaForCausalLM", "layers 6, hidden 384, intermediate 1024, heads 6 of 64 (2 key/value)",
                           "vocabulary 4096, context 1024, tied embeddings", "memory on ", "\n  auto ", "\n  f32 ",
                           "model.layers.5.mlp.down_proj.weight", "F16    [384, 1024]"}) {
    expect_holds(text.out, part);
  }
}

TEST(Inspect, JsonHoldsTheSame) {
  const TinyModel tiny;
  const Outcome outcome = run({"inspect", "--model-dir", tiny.path().string(), "--json", "--kv-type", "f16"});
  expect_success(outcome);
  const Json report = json_of(outcome);
  EXPECT_EQ(report.at("model").at("hidden_size"), 64);
  EXPECT_EQ(report.at("model").at("architecture"), "LlamaForCausalLM");
  EXPECT_EQ(report.at("tensors").size(), 3U * 9 + 3) << "nine in each of three layers, embedding, norm and head";
  EXPECT_EQ(report.at("parameters"), 2 * 384 * 64 + 3 * (4 * 64 * 64 + 3 * 160 * 64 + 2 * 64) + 64);
  ASSERT_FALSE(report.at("memory").empty());
  for (const Json& plan : report.at("memory")) {
    EXPECT_EQ(plan.at("kv_type"), "f16");
    EXPECT_GT(plan.at("weight_bytes"), 0);
  }
}

TEST(Tokenize, EncodesAndDecodes) {
  const std::string model = default_model_path().string();
  const Outcome ids = run({"tokenize", model, "--text", "Once upon a time"});
  expect_success(ids);
  const Outcome piped = run(Launch{.arguments = {"tokenize", model}, .input = "Once upon a time"});
  EXPECT_EQ(piped.out, ids.out);
  const Outcome json = run({"tokenize", model, "--text", "Once upon a time", "--json"});
  const Json list = json_of(json).at("ids");
  ASSERT_EQ(list.size(), 5U);
  EXPECT_EQ(list.at(0), 1) << "the begin of a text";
  EXPECT_EQ(json_of(json).at("tokens").at(0), "<s>");

  std::vector<std::string> arguments = {"tokenize", model, "--decode"};
  for (size_t i = 1; i < list.size(); ++i) arguments.push_back(list[i].dump());
  EXPECT_EQ(run(arguments).out, "Once upon a time\n");
  expect_holds(run({"tokenize", model, "--text", "Once", "--pieces", "--no-special-tokens"}).out, "▁Once");
}

TEST(Tokenize, RefusesWhatIsNoTextOrToken) {
  const std::string model = default_model_path().string();
  expect_refused_silently(run({"tokenize", model, "--text", "a\xc3("}), {"UTF-8"});
  expect_refused_silently(run({"tokenize", model, "--decode", "4096"}),
                          {"the token 4096 is not in the vocabulary of 4,096 tokens"});
}

}  // namespace
}  // namespace cria::e2e
