# Warnings and hardening for our own code; generated code and libraries are SYSTEM.
add_compile_definitions(_GNU_SOURCE POSTRIDER_VERSION="${PROJECT_VERSION}")
add_compile_options(
    -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla
    -Wundef -Wcast-align -Wpointer-arith -Wwrite-strings -Wimplicit-fallthrough -Wswitch-enum
    -fno-common -fstack-protector-strong -fno-omit-frame-pointer)
if(POSTRIDER_WERROR)
    add_compile_options(-Werror)
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release")
    add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -g1)
    add_link_options(-Wl,-z,relro,-z,now)
endif()
if(POSTRIDER_SANITIZE)
    add_compile_options(-fsanitize=${POSTRIDER_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${POSTRIDER_SANITIZE})
endif()
if(POSTRIDER_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
