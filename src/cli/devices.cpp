// `cria devices`: the GPUs of this machine and what they can do.
#include "cli/command.h"
#include "cli/streams.h"

namespace cria::cli {
namespace {

Json to_json(const gpu::DeviceInfo& info) {
  Json features;
  for (const gpu::FeatureName& feature : gpu::kFeatureNames) {
    features[std::string(feature.name)] = info.features.*(feature.member);
  }
  return {{"index", info.index},
          {"name", info.name},
          {"type", info.type},
          {"backend", info.backend},
          {"vendor", info.vendor},
          {"driver", info.driver},
          {"features", std::move(features)},
          {"subgroup_min_size", info.subgroup_min_size},
          {"subgroup_max_size", info.subgroup_max_size},
          {"memory_bytes", info.memory_bytes},
          {"max_buffer_bytes", info.limits.max_buffer_bytes},
          {"max_binding_bytes", info.limits.max_binding_bytes},
          {"max_storage_buffers", info.limits.max_storage_buffers},
          {"max_workgroup_memory_bytes", info.limits.max_workgroup_memory_bytes},
          {"max_workgroup_invocations", info.limits.max_workgroup_invocations}};
}

std::string to_text(const gpu::DeviceInfo& info) {
  std::string text = fmt::format("{}: {} ({}, {}; {})\n", info.index, info.name, info.type, info.backend, info.driver);
  text += "   features: " + gpu::feature_names(info.features);
  if (info.features.subgroups) {
    text += fmt::format("; subgroups of {} to {}", info.subgroup_min_size, info.subgroup_max_size);
  }
  if (info.memory_bytes != 0) text += "\n   memory: " + human_bytes(info.memory_bytes);
  text += fmt::format("\n   limits: buffer {}, binding {}, workgroup memory {}, {} invocations, {} storage buffers\n",
                      human_bytes(info.limits.max_buffer_bytes), human_bytes(info.limits.max_binding_bytes),
                      human_bytes(info.limits.max_workgroup_memory_bytes), info.limits.max_workgroup_invocations,
                      info.limits.max_storage_buffers);
  return text;
}

Status run(bool as_json) {
  CRIA_TRY_ASSIGN(const std::vector<gpu::DeviceInfo> devices, gpu::list_devices());
  if (as_json) {
    Json list = Json::array();
    for (const gpu::DeviceInfo& info : devices) list.push_back(to_json(info));
    return write_json(list);
  }
  std::string text;
  for (const gpu::DeviceInfo& info : devices) text += to_text(info);
  return write_output(text);
}

}  // namespace

void add_devices(CLI::App& app, Command& chosen) {
  auto* command = app.add_subcommand("devices", "List the GPUs of this machine, the default one first");
  auto as_json = std::make_shared<bool>(false);
  command->add_flag("--json", *as_json, "Print as JSON");
  command->callback([&chosen, as_json] { chosen = [as_json] { return run(*as_json); }; });
}

}  // namespace cria::cli
