// Reads a text and prints the logit of every token that may follow, a line each: logits MODEL FILE
#include <cria/cria.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: logits MODEL FILE\n";
    return 2;
  }
  std::ifstream file(argv[2], std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) {
    std::cerr << argv[2] << " cannot be read\n";
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
  const auto logits = session->logits(text.str());
  if (!logits) {
    std::cerr << logits.error().message << "\n";
    return 2;
  }
  for (const float logit : *logits) std::printf("%.9g\n", logit);
  return 0;
}
