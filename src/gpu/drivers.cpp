// See drivers.h. The variables are those of the Vulkan loader's LoaderDriverInterface document.
#include "gpu/drivers.h"

#include <cstdlib>
#include <initializer_list>
#include <system_error>

#include "base/platform.h"

namespace cria::gpu {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRequest = "CRIA_VULKAN_DRIVER";
constexpr const char* kOnly = "VK_DRIVER_FILES";
constexpr const char* kOnlyOldName = "VK_ICD_FILENAMES";
constexpr const char* kAdd = "VK_ADD_DRIVER_FILES";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// The first path that exists, else an empty one.
fs::path first_existing(std::initializer_list<fs::path> candidates) {
  for (const fs::path& candidate : candidates) {
    std::error_code ignored;
    if (fs::exists(candidate, ignored)) return candidate.lexically_normal();
  }
  return {};
}

DriverSituation look_around() {
  DriverSituation situation{.request = environment(kRequest),
                            .has_user_list = !environment(kOnly).empty() || !environment(kOnlyOldName).empty(),
                            .user_additions = environment(kAdd),
                            .lavapipe = {},
                            .swiftshader = {}};
  // In a bundle the manifest is beside the program; in a build tree where `make setup` put it.
  const fs::path bundle = platform::executable_path().parent_path() / "..";
  situation.lavapipe = first_existing({bundle / "share/vulkan/icd.d/lvp_icd.json",
#ifdef CRIA_DEPS_DIR
                                       fs::path(CRIA_DEPS_DIR) / "runtime/usr/share/vulkan/icd.d/lvp_icd.json"
#endif
  });
  situation.swiftshader = first_existing({bundle / "share/vulkan/icd.d/vk_swiftshader_icd.json",
#ifdef CRIA_DEPS_DIR
                                          fs::path(CRIA_DEPS_DIR) / "swiftshader/vk_swiftshader_icd.json"
#endif
  });
  return situation;
}

Result<std::optional<EnvironmentChange>> only(const fs::path& manifest, const std::string& request) {
  std::error_code ignored;
  if (manifest.empty()) {
    return fail(ErrorCode::kNotFound,
                "{}={}: this driver does not come with this build of Cria (`make test` fetches both)", kRequest,
                request);
  }
  if (!fs::is_regular_file(manifest, ignored)) {
    return fail(ErrorCode::kNotFound, "{}={}: there is no such file", kRequest, request);
  }
  return EnvironmentChange{.name = kOnly, .value = manifest.string()};
}

}  // namespace

Result<std::optional<EnvironmentChange>> choose_drivers(const DriverSituation& situation) {
  const std::string& request = situation.request;
  if (request == "system") return std::nullopt;
  if (request == "lavapipe") return only(situation.lavapipe, request);
  if (request == "swiftshader") return only(situation.swiftshader, request);
  if (request.ends_with(".json")) return only(request, request);
  if (!request.empty() && request != "auto") {
    return fail(ErrorCode::kInvalidInput,
                "{}={}: there is no such choice; the choices are auto, system, lavapipe, swiftshader and the path of a "
                "Vulkan driver manifest (.json)",
                kRequest, request);
  }
  if (situation.has_user_list || situation.lavapipe.empty()) return std::nullopt;
  std::string files = situation.user_additions;
  if (!files.empty()) files += ':';
  return EnvironmentChange{.name = kAdd, .value = files + situation.lavapipe.string()};
}

Status prepare_drivers() {
  CRIA_TRY_ASSIGN(const auto change, choose_drivers(look_around()));
  if (change) platform::set_environment(change->name, change->value);
  return {};
}

}  // namespace cria::gpu
