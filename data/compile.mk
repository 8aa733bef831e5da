# The workload of compile.trace: libsass, 50 files of C++, compiled afresh.
#   make -s -j2 -f compile.mk SOURCE=libsass-0.23.0/libsass OBJECTS=/tmp/objects
SOURCE ?= libsass-0.23.0/libsass
OBJECTS ?= objects
FILES := $(wildcard $(SOURCE)/src/*.cpp)

all: $(FILES:$(SOURCE)/src/%.cpp=$(OBJECTS)/%.o)

$(OBJECTS)/%.o: $(SOURCE)/src/%.cpp
	@mkdir -p $(OBJECTS)
	$(CXX) -std=c++11 -O2 -I$(SOURCE)/include -c $< -o $@
