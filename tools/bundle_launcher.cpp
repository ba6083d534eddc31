// The program bin/cria of a bundle (see bundle.sh): starts lib/cria with the C library and Dawn of the bundle,
// through the bundle's own loader, so that it runs on Linux systems that are older or have other libraries.
//
// Linked statically, as it must start anywhere. Linux only. Exit code 127 where the bundle is not whole.
#include <unistd.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

/// Where systems keep the libraries of their Vulkan drivers, for a loader that was built for another system.
constexpr const char* kSystemFolders =
    ":/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu:/usr/lib64:/lib64:/usr/lib:/lib"
    ":/run/opengl-driver/lib";

/// The bundle's folder: above the one that holds this program, symbolic links followed. Empty where unknown.
std::string bundle_folder() {
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  if (length <= 0 || length >= static_cast<ssize_t>(sizeof(path))) return "";
  std::string folder(path, static_cast<size_t>(length));
  for (int level = 0; level < 2; ++level) folder.resize(folder.rfind('/') == std::string::npos ? 0 : folder.rfind('/'));
  return folder;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = bundle_folder();
  if (folder.empty()) {
    std::fputs("cria: error: /proc/self/exe cannot be read, so the bundle's libraries cannot be found\n", stderr);
    return 127;
  }
  std::string loader = folder + "/lib/" CRIA_LOADER;
  std::string program = folder + "/lib/cria";
  std::string libraries = folder + "/lib" + kSystemFolders;
  const char* user_folders = std::getenv("LD_LIBRARY_PATH");  // --library-path takes its place
  if (user_folders != nullptr && *user_folders != '\0') libraries += std::string(":") + user_folders;

  char library_flag[] = "--library-path";
  char name_flag[] = "--argv0";
  char name[] = "cria";
  std::vector<char*> arguments = {loader.data(), library_flag, libraries.data(), name_flag, name, program.data()};
  for (int i = 1; i < argc; ++i) arguments.push_back(argv[i]);
  arguments.push_back(nullptr);
  execv(loader.c_str(), arguments.data());
  std::perror(("cria: error: " + loader).c_str());
  return 127;
}
