// Loads a model folder and continues a prompt: generate MODEL PROMPT
#include <cria/cria.h>

#include <iostream>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: generate MODEL PROMPT\n";
    return 2;
  }
  auto model = cria::Model::load(argv[1]);
  if (!model) {
    std::cerr << model.error().message << "\n";
    return 2;
  }
  auto session = model->create_session();
  if (!session) {
    std::cerr << session.error().message << "\n";
    return 2;
  }
  const auto result = session->generate(argv[2], {.max_tokens = 64}, [](std::string_view text) {
    std::cout << text << std::flush;
    return true;
  });
  std::cout << "\n";
  if (!result) {
    std::cerr << result.error().message << "\n";
    return 2;
  }
  std::cerr << result->generated_tokens << " tokens, then: " << result->stop_reason << "\n";
  return 0;
}
